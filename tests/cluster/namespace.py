"""A network namespace with one cable to this machine and name servers of its own. Needs root."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.cluster.iproute import ip, try_ip


class NetworkNamespace:
    """``inside`` is its address, ``outside`` are this machine's on the cable: all of one /24."""

    def __init__(self, name: str, inside: str, outside: Sequence[str]) -> None:
        self.name = name
        self._resolver = Path("/etc/netns") / name
        self._cable = f"{name}-0"[:15]
        self.remove()
        ip("netns", "add", name)
        ip("link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        for address in outside:
            ip("address", "add", f"{address}/24", "dev", self._cable)
        ip("link", "set", self._cable, "up")
        ip("-n", name, "address", "add", f"{inside}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", name, "link", "set", device, "up")
        # `ip netns exec` mounts it over /etc/resolv.conf.
        self._resolver.mkdir(parents=True)
        lines = [f"nameserver {address}\n" for address in outside]
        (self._resolver / "resolv.conf").write_text("".join(lines) + "options timeout:1 attempts:3\n")

    def remove(self) -> None:
        """Take it down, there or not."""
        for command in (("link", "delete", self._cable), ("netns", "delete", self.name)):
            try_ip(*command)
        shutil.rmtree(self._resolver, ignore_errors=True)
