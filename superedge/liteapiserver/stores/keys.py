"""Keys of records as they come out of a store. Pure."""

from __future__ import annotations

from sys import intern

Key = tuple[str, ...]


def interned(key: Key) -> Key:
    """A key whose parts but the last, which are those of thousands of others, are there once."""
    return (*map(intern, key[:-1]), *key[-1:])
