"""A cached object, and a view of objects. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from operator import eq

from superedge.kube.objects import Item, version_number
from superedge.liteapiserver.cache.scopes import Name, Scope

MAX_TOMBSTONES = 256
"""Deletions that a view keeps, so that a watch can continue from before them."""


class StoredObject:
    """An object as received, its version as a number, and the identifiers of its views."""

    __slots__ = ("item", "number", "updated", "views")

    def __init__(self, item: Item, updated: float) -> None:
        self.views: tuple[str, ...] = ()
        self.update(item, updated)

    def update(self, item: Item, updated: float) -> None:
        """Replace the object."""
        self.item = item
        self.number = version_number(item.version)
        self.updated = updated


class View:
    """The objects of one list or watch, and the version at which they are known."""

    def __init__(self, scope: Scope, updated: float) -> None:
        self.scope = scope
        self.identifier = scope.identifier
        self.only_this = (self.identifier,)
        """The identifiers of an object that is in this view only; one shared tuple saves memory."""
        self.members: dict[Name, StoredObject] = {}
        self.version = ""
        self.number = 0
        self.complete = False
        self.expired = False
        """Whether no watch can continue from the version: it is too old, or the watch could not be decoded.
        """
        self.updated = updated
        self.used = updated
        """When a client read it last, Unix time."""
        self.watchers = 0
        """The number of open watches that keep it up to date."""
        self.observers: set[Callable[[Name, Item | None], None]] = set()
        """Called after each event of a watch, with an object as it is now, or None when it is gone."""
        self.floor = 0
        self.tombstones: deque[tuple[int, Name, bytes]] = deque()
        """Version, name and last state of what was deleted or left the scope."""

    def advance(self, version: str) -> bool:
        """Move to a later version; False when it is not later."""
        number = version_number(version)
        if number <= self.number:
            return False
        self.version, self.number = version, number
        return True

    def reorder(self, names: Collection[Name]) -> None:
        """Sort the members by ``names``, the order of a list, which the next list will likely have, too."""
        members = self.members
        if not all(map(eq, members, names)):
            keys = {name: name for name in members}  # reuses the key objects, which saves memory
            self.members = {keys[name]: members[name] for name in names}

    def left_at(self, name: Name) -> int:
        """The version at which an object was deleted or left the scope; -1 when that is not known."""
        return max((number for number, gone, _ in self.tombstones if gone == name), default=-1)

    def add_tombstone(self, number: int, name: Name, raw: bytes) -> None:
        """Remember that an object was deleted or left the scope."""
        self.tombstones.append((number, name, raw))
        if len(self.tombstones) > MAX_TOMBSTONES:
            self.floor = self.tombstones.popleft()[0]
