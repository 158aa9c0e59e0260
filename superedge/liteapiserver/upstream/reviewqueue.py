"""Tokens that wait for a review, with a fair share for each owner. Pure."""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

UNCHECKED = ""
"""The owner of tokens that no API server is known to have checked: together they have one share."""


class Waiting(NamedTuple):
    """A token that waits, with its hash."""

    owner: str
    digest: str
    token: str


class ReviewQueue:
    """Owners take turns. Over ``limit``, the owner with the most tokens loses its latest one."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._owners: dict[str, dict[str, str]] = {}
        """The tokens of each owner by their hash, the next owner first."""
        self._owner_of: dict[str, str] = {}
        """The owner of each token that waits, by the token's hash."""

    def __len__(self) -> int:
        return len(self._owner_of)

    def put(self, owner: str, digest: str, token: str) -> None:
        """Add a token that does not wait yet, or one that waits without a true owner."""
        before = self._owner_of.get(digest)
        if before is not None:
            if before != UNCHECKED or owner == UNCHECKED:
                return
            self._remove(before, digest)
        self._owners.setdefault(owner, {})[digest] = token
        self._owner_of[digest] = owner
        if len(self) > self._limit:
            largest = max(self._owners, key=lambda each: (len(self._owners[each]), each == owner))
            self._remove(largest, next(reversed(self._owners[largest])))

    def take(self, busy: Container[str] = ()) -> Waiting | None:
        """Remove the oldest token of the next owner that is not ``busy``; None without one."""
        for owner, tokens in self._owners.items():
            if owner not in busy:
                digest, token = next(iter(tokens.items()))
                self._remove(owner, digest)
                if tokens:
                    self._owners[owner] = self._owners.pop(owner)  # behind the others
                return Waiting(owner, digest, token)
        return None

    def clear(self) -> None:
        """Drop every token."""
        self._owners.clear()
        self._owner_of.clear()

    def _remove(self, owner: str, digest: str) -> None:
        tokens = self._owners[owner]
        del tokens[digest], self._owner_of[digest]
        if not tokens:
            del self._owners[owner]
