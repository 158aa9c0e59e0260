"""What this node and this boot are called."""

from __future__ import annotations

import socket
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def node_name(configured: str) -> str:
    """The configured name, or else the one that a kubelet takes."""
    return configured or socket.gethostname().lower()


def read_boot_id() -> str:
    """The kernel's random id of this boot. Raises OSError."""
    return BOOT_ID.read_text().strip()
