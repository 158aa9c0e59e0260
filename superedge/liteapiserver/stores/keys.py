"""Keys of records that are read from a store. Pure."""

from __future__ import annotations

from sys import intern

Key = tuple[str, ...]


def interned(key: Key) -> Key:
    """A key with interned parts, except the last: thousands of keys share the others."""
    return (*map(intern, key[:-1]), *key[-1:])
