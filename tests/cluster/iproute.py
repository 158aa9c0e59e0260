"""iproute2's ip."""

from __future__ import annotations

import subprocess


def ip(*arguments: str) -> None:
    """Run ip. Raises CalledProcessError."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def try_ip(*arguments: str) -> None:
    """Run ip, whatever comes of it."""
    subprocess.run(["ip", *arguments], check=False, capture_output=True)
