"""Addresses as they stand in configuration files: ``host:port``, ``[v6]:port`` and ``unix:/path``."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address


@dataclass(frozen=True, slots=True)
class TCPAddress:
    """A host (name or IP literal, no brackets) and a port (0 to 65535)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether a listener on it is reachable from this machine alone."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The path of a Unix stream socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"

    @property
    def is_loopback(self) -> bool:
        """A Unix socket never leaves the machine."""
        return True


Address = TCPAddress | UnixAddress


def parse_address(text: str, default_port: int | None = None) -> Address:
    """Read an address; ValueError with one sentence when it is none."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/"):
            raise ValueError(
                f"{text!r} is not an address: a Unix socket needs an absolute path, unix:/run/x.sock"
            )
        return UnixAddress(path)
    host, separator, port = _split(text)
    if not separator and default_port is not None:
        return TCPAddress(host, default_port)
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} is not an address: use host:port, [v6 address]:port or unix:/path")
    return TCPAddress(host, int(port))


def _split(text: str) -> tuple[str, str, str]:
    if text.startswith("["):
        inside, bracket, rest = text[1:].partition("]")
        try:
            IPv6Address(inside)
        except ValueError:
            return "", "", ""
        if not bracket or (rest and not rest.startswith(":")):
            return "", ":", ""
        return inside, rest[:1], rest[1:]
    host, separator, port = text.rpartition(":")
    if not separator:
        return text, "", ""
    return ("", ":", "") if ":" in host else (host, separator, port)
