"""The addresses on which a configuration listens, and conflicts between them."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

import msgspec

from superedge.config.addresses import Address, TCPAddress, parse_address

DEFAULT_PORT = 53
"""The port of addresses without one, which only the DNS servers accept."""


def tables(table: msgspec.Struct, key: str = "") -> Iterator[tuple[str, msgspec.Struct]]:
    """The table and all tables in it, each with its path, such as ``tunnel_cloud.listeners[0]``."""
    yield key, table
    for field in table.__struct_fields__:
        value, path = getattr(table, field), f"{key}.{field}" if key else field
        items = [(f"{path}[{at}]", item) for at, item in enumerate(value)] if isinstance(value, list) else []
        for name, item in items or [(path, value)]:
            if isinstance(item, msgspec.Struct):
                yield from tables(item, name)


def listening(config: msgspec.Struct) -> Iterator[tuple[str, Address]]:
    """The addresses of all ``listen`` keys, each with the path of its key. Includes disabled tables."""
    for key, table in tables(config):
        value = getattr(table, "listen", [])
        for text in [value] if isinstance(value, str) else value:
            yield f"{key}.listen", parse_address(text, DEFAULT_PORT)


def conflict(config: msgspec.Struct) -> tuple[str, str, Address] | None:
    """(key, earlier key, address) of the first address that an earlier key already uses."""
    taken: list[tuple[str, Address]] = []
    for key, address in listening(config):
        for other, before in taken:
            if _same(address, before):
                return key, other, address
        taken.append((key, address))
    return None


def _same(one: Address, other: Address) -> bool:
    if not isinstance(one, TCPAddress) or not isinstance(other, TCPAddress):
        return one == other
    if one.port != other.port or one.port == 0:
        return False
    return one.host == other.host or (
        _version(one.host) == _version(other.host) and bool({one.host, other.host} & {"0.0.0.0", "::"})
    )


def _version(host: str) -> int:
    try:
        return ip_address(host).version
    except ValueError:
        return 0
