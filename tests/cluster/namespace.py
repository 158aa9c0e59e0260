"""A network namespace with one cable to this machine and name servers of its own. Needs root."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path


class NetworkNamespace:
    """``inside`` is its address, ``outside`` are this machine's on the cable: all of one /24."""

    def __init__(self, name: str, inside: str, outside: Sequence[str]) -> None:
        self.name = name
        self._resolver = Path("/etc/netns") / name
        self._cable = f"{name}-0"[:15]
        self.remove()
        self._ip("netns", "add", name)
        self._ip("link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        for address in outside:
            self._ip("address", "add", f"{address}/24", "dev", self._cable)
        self._ip("link", "set", self._cable, "up")
        self._ip("-n", name, "address", "add", f"{inside}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            self._ip("-n", name, "link", "set", device, "up")
        # `ip netns exec` mounts it over /etc/resolv.conf.
        self._resolver.mkdir(parents=True)
        lines = [f"nameserver {address}\n" for address in outside]
        (self._resolver / "resolv.conf").write_text("".join(lines) + "options timeout:1 attempts:3\n")

    def _ip(self, *arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True)

    def remove(self) -> None:
        """Take it down, there or not."""
        for command in (("link", "delete", self._cable), ("netns", "delete", self.name)):
            subprocess.run(["ip", *command], check=False, capture_output=True)
        shutil.rmtree(self._resolver, ignore_errors=True)
