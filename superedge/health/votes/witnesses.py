"""Which nodes probe which: rendezvous hashing of names, the same on every node. Pure.

A node's witnesses are the members of its unit with the highest weights for it. A node that joins or leaves
changes only the choices that it is part of.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from heapq import nlargest

_MASK = (1 << 64) - 1


@lru_cache(maxsize=16384)
def _digest(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest())


def _weight(one: int, other: int) -> int:
    """The weight of a pair. It is symmetric: most pairs probe each other, and can share a connection."""
    mixed = (one + other) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return mixed ^ (mixed >> 31)


def witnesses_of(node: str, members: Iterable[str], count: int) -> list[str]:
    """At most ``count`` members that probe the node, by descending weight."""
    own = _digest(node)
    others = (name for name in members if name != node)
    return nlargest(count, others, key=lambda name: (_weight(own, _digest(name)), name))


def probed_by(node: str, members: Sequence[str], count: int) -> list[str]:
    """The members that have the node among their witnesses, in the order of ``members``."""
    own = _digest(node)
    digests = [(_digest(name), name) for name in members]
    found = []
    for digest, name in digests:
        if name == node:
            continue
        mine, before = (_weight(digest, own), node), 0
        for other, rival in digests:
            if rival != name and (_weight(digest, other), rival) > mine:
                before += 1
                if before == count:
                    break
        else:
            found.append(name)
    return found
