"""Checks that several tables use. They raise ValueError with one sentence that names the key."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import ip_address, ip_network

from superedge.config.addresses import Address, TCPAddress, parse_address
from superedge.config.dialrules import parse_dial_rule

MAX_NUMBER = 1e9
"""Highest number with a fraction, which most often are seconds: thirty years."""
MAX_NAME, MAX_LABEL = 253, 63
MAX_TTL = 0x7FFFFFFF
"""Seconds (RFC 2181 section 8)."""


def check_address(key: str, text: str) -> Address:
    """Parse a TCP or Unix address."""
    try:
        return parse_address(text)
    except ValueError as problem:
        raise ValueError(f"{key}: {problem}") from None


def check_tcp_address(key: str, text: str, default_port: int | None = None) -> TCPAddress:
    """Parse ``host:port``. The port is optional if there is a default."""
    try:
        address = parse_address(text, default_port)
    except ValueError:
        address = None
    if not isinstance(address, TCPAddress):
        raise ValueError(f"{key}: {text!r} is not host:port or [IPv6 address]:port")
    return address


def check_target(key: str, text: str, default_port: int | None = None) -> TCPAddress:
    """Parse the ``host:port`` of a server, which is dialled."""
    address = check_tcp_address(key, text, default_port)
    if not address.port:
        raise ValueError(f"{key}: {text!r} has port 0, on which nothing listens")
    return address


def check_domain(key: str, text: str) -> None:
    """Check a DNS name; "." is the root (RFC 1035 section 3.1)."""
    labels = text.removesuffix(".").split(".")
    if text != "." and not (
        text.isascii() and len(text) <= MAX_NAME and all(0 < len(label) <= MAX_LABEL for label in labels)
    ):
        raise ValueError(f"{key}: {text!r} is not a DNS name")


def check_suffixes(texts: Iterable[str]) -> None:
    """Check suffixes of node names."""
    for text in texts:
        check_domain("suffixes", text.removeprefix("."))


def check_ttl(**values: int) -> None:
    """Check that each is a time to live of DNS records."""
    for key, value in values.items():
        if not 0 <= value <= MAX_TTL:
            raise ValueError(f"{key}: {value} is not 0 to {MAX_TTL}")


def check_ip(key: str, text: str) -> None:
    """Check an IP address."""
    try:
        ip_address(text)
    except ValueError:
        raise ValueError(f"{key}: {text!r} is not an IPv4 or IPv6 address") from None


def check_networks(key: str, texts: Iterable[str]) -> None:
    """Check networks in CIDR notation."""
    for text in texts:
        try:
            ip_network(text)
        except ValueError as problem:
            raise ValueError(f"{key}: {text!r} is not a network such as 10.0.0.0/8: {problem}") from None


def check_dial_rules(key: str, texts: Iterable[str]) -> None:
    """Check dial rules. Reports all faults in one sentence."""
    faults = []
    for text in texts:
        try:
            parse_dial_rule(text)
        except ValueError as problem:
            faults.append(str(problem))
    if faults:
        raise ValueError(f"{key}: {'; '.join(faults)}")


def check_not_empty(**lists: Collection[object]) -> None:
    """Check that each list has an item."""
    for key, items in lists.items():
        if not items:
            raise ValueError(f"{key}: must name at least one")


def check_positive(**values: float) -> None:
    """Check that each value is above 0."""
    for key, value in values.items():
        if not value > 0:
            raise ValueError(f"{key}: {value} must be greater than 0")
        _check_finite(key, value)


def check_not_negative(**values: float) -> None:
    """Check that each value is 0 or more."""
    for key, value in values.items():
        if not value >= 0:
            raise ValueError(f"{key}: {value} must not be negative")
        _check_finite(key, value)


def _check_finite(key: str, value: float) -> None:
    if isinstance(value, float) and value > MAX_NUMBER:
        raise ValueError(f"{key}: {value} must be at most {MAX_NUMBER:.0f}")
