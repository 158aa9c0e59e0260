"""Parses addresses in configuration files: ``host:port``, ``[v6]:port`` and ``unix:/path``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from urllib.parse import unquote

MAX_SOCKET_PATH = 107
"""Bytes (unix(7))."""


@dataclass(frozen=True, slots=True)
class TCPAddress:
    """A host (a name or an IP literal without brackets) and a port (0 to 65535)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether a listener on it is reachable only from this machine."""
        return _is_loopback(self.host)

    def takes(self, other: TCPAddress) -> bool:
        """Whether a listener on it gets what this machine sends to ``other``, as far as the texts tell.

        One on every address of the machine has the loopback addresses, too.
        """
        every = self.host in ("0.0.0.0", "::") and other.is_loopback
        return self.port == other.port and (self.host == other.host or every)


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


@lru_cache(maxsize=256)  # called for each stream
def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def parse_address(text: str, default_port: int | None = None) -> Address:
    """Parse an address. Raises ValueError with one sentence."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/"):
            raise ValueError(
                f"{text!r} is not an address: a Unix socket needs an absolute path, such as unix:/run/x.sock"
            )
        if "\0" in path or len(path.encode()) > MAX_SOCKET_PATH:
            raise ValueError(
                f"{text!r} is not an address: the path of a Unix socket has at most {MAX_SOCKET_PATH} bytes"
            )
        return UnixAddress(path)
    host, separator, port = _split(text)
    if not separator and default_port is not None:
        return TCPAddress(host, default_port)
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} is not an address: use host:port, [IPv6 address]:port or unix:/path")
    return TCPAddress(host, int(port))


def parse_proxy(text: str) -> tuple[TCPAddress, str]:
    """Parse ``http://[user:password@]host:port`` into (address, ``user:password`` or '').

    Raises ValueError, whose sentence omits the text because it may contain a password.
    """
    scheme, separator, rest = text.partition("://")
    userinfo, _, host = rest.rstrip("/").rpartition("@")
    try:
        address = parse_address(host)
    except ValueError:
        address = None
    if scheme.lower() != "http" or not separator or not isinstance(address, TCPAddress):
        raise ValueError("proxy must be http://host:port or http://user:password@host:port")
    if userinfo and ":" not in userinfo:
        raise ValueError("proxy has a user but no password: use http://user:password@host:port")
    user, _, password = userinfo.partition(":")
    return address, f"{unquote(user)}:{unquote(password)}" if userinfo else ""


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
