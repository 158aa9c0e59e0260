"""An object as it is kept, and a view of objects. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from operator import eq

from superedge.kube.objects import Item, version_number
from superedge.liteapiserver.cache.scopes import Name, Scope

MAX_TOMBSTONES = 256
"""Deletions a view remembers, so that a watch may continue from before them."""


class StoredObject:
    """An object as it came, the number of its version, and the identifiers of the views it is in."""

    __slots__ = ("item", "number", "updated", "views")

    def __init__(self, item: Item, updated: float) -> None:
        self.views: tuple[str, ...] = ()
        self.update(item, updated)

    def update(self, item: Item, updated: float) -> None:
        """Take newer bytes."""
        self.item = item
        self.number = version_number(item.version)
        self.updated = updated


class View:
    """What one list or watch shows: its members and the version up to which they are known."""

    def __init__(self, scope: Scope, updated: float) -> None:
        self.scope = scope
        self.identifier = scope.identifier
        self.only_this = (self.identifier,)
        """The views of an object that is in no other: one tuple for them all."""
        self.members: dict[Name, StoredObject] = {}
        self.version = ""
        self.number = 0
        self.complete = False
        self.expired = False
        """Whether no watch goes on from the version: the history begins later, or cannot be read."""
        self.updated = updated
        self.used = updated
        """When a client asked for it last, Unix time."""
        self.watchers = 0
        """Watches that keep it up to date now."""
        self.floor = 0
        self.tombstones: deque[tuple[int, bytes]] = deque()

    def advance(self, version: str) -> bool:
        """Move to a later version; False when it is not later."""
        number = version_number(version)
        if number <= self.number:
            return False
        self.version, self.number = version, number
        return True

    def reorder(self, names: Collection[Name]) -> None:
        """Have the members, which are these, in this order: that of the next list, most likely."""
        members = self.members
        if not all(map(eq, members, names)):
            keys = {name: name for name in members}  # each is kept once, whoever has it
            self.members = {keys[name]: members[name] for name in names}

    def add_tombstone(self, number: int, raw: bytes) -> None:
        """Remember a deletion."""
        self.tombstones.append((number, raw))
        if len(self.tombstones) > MAX_TOMBSTONES:
            self.floor = self.tombstones.popleft()[0]
