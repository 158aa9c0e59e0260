"""Objects, lists and watch events, decoded no further than their metadata. Pure.

Bytes stay as the API server sent them: an `Item` carries the object's own bytes, cut out of the list or
event that brought it. One `Codec` per media type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from superedge.kube.errors import DecodeError

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
"""Annotation of the bookmark that ends a watch's initial events (Kubernetes API concepts)."""

_MAX_DIGITS = 1000


class Item(NamedTuple):
    """One object. ``kind`` and ``api_version`` are empty when its bytes do not say them, as in a list."""

    namespace: str
    name: str
    version: str
    kind: str
    api_version: str
    raw: bytes


def named(item: Item) -> Item:
    """The item itself. Raises DecodeError when it has no name, as every object has."""
    if not item.name:
        raise DecodeError("an object without a name")
    return item


class Known:
    """Objects that a list is likely to bring again, in the order in which it brings them.

    What is there byte for byte is not decoded again.
    """

    __slots__ = ("_at", "_items", "_places")

    def __init__(self, items: Sequence[Item] = ()) -> None:
        self._items = items
        self._at = 0
        self._places: dict[tuple[str, str], int] = {}

    def read(self, raw: bytes, decode: Callable[[bytes], Item]) -> Item:
        """The object that is next in a list."""
        items, at = self._items, self._at
        if at >= len(items):
            return decode(raw)
        expected = items[at]
        if expected.raw == raw:
            self._at = at + 1
            return expected
        item = decode(raw)
        if item.name == expected.name and item.namespace == expected.namespace:
            self._at = at + 1
        else:
            self._at = self._after(item, at)
        return item

    def _after(self, item: Item, at: int) -> int:
        """Where the list goes on behind an item that was not expected at ``at``."""
        if not self._places:
            self._places = {(each.namespace, each.name): at for at, each in enumerate(self._items, 1)}
        return self._places.get((item.namespace, item.name), at)


class ListPage(NamedTuple):
    """One answer to a list: ``kind`` is the list's own; ``token`` is empty on the last page."""

    kind: str
    api_version: str
    version: str
    token: str
    items: list[Item]


class WatchEvent(NamedTuple):
    """One frame: ``type`` is ADDED, MODIFIED, DELETED, BOOKMARK or ERROR.

    ``item`` is the object, for BOOKMARK one that has a version alone; ``code`` is an ERROR's status code.
    """

    type: str
    item: Item
    initial_events_end: bool = False
    code: int = 0


class FrameSplitter(Protocol):
    """Cuts a watch stream into frames, whatever pieces it comes in."""

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are now whole. Raises DecodeError."""

    @property
    def pending(self) -> int:
        """Bytes of a frame that is not whole yet."""


class FieldPath(NamedTuple):
    """Where a field is, in JSON by names and in protobuf by numbers; ``boolean`` when absent means false."""

    names: tuple[str, ...]
    numbers: tuple[int, ...]
    boolean: bool = False


class Lifecycle(NamedTuple):
    """What an object's metadata say of its end. Source: Kubernetes, "Finalizers" and API conventions."""

    uid: str = ""
    deleting: bool = False
    """Whether its deletion was asked for."""
    kept: bool = False
    """Whether finalizers or a grace period keep it meanwhile."""


class Codec(Protocol):
    """Reads and writes one form of objects. What cannot be read raises DecodeError."""

    shared: bytes
    """What every object needs and none says itself, such as a Table's columns; empty in other forms."""
    whole: bool
    """Whether objects have all their fields in this form, and not metadata alone."""

    def decode_object(self, body: bytes) -> Item:
        """The object of a GET answer."""

    def decode_list(self, body: bytes, known: Known | None = None) -> ListPage:
        """The page of a LIST answer; what is ``known`` and has not changed is the known item itself."""

    def splitter(self) -> FrameSplitter:
        """For one watch stream."""

    def decode_event(self, frame: bytes) -> WatchEvent:
        """The event of a frame."""

    def labels(self, raw: bytes) -> Mapping[str, str]:
        """An object's labels."""

    def field(self, raw: bytes, path: FieldPath) -> str:
        """A field's text as selectors compare it, empty when it is absent; of a ``whole`` form."""

    def lifecycle(self, raw: bytes) -> Lifecycle:
        """What an object's metadata say of its end."""

    def metadata(self, raw: bytes) -> bytes:
        """An object's metadata, in JSON."""

    def derive(self, metadata: bytes, whole: bytes) -> bytes | None:
        """An object in this form, made of its metadata in JSON; None for a form that needs more.

        ``whole`` is the object in plain JSON, empty when it is not known so.
        """

    def as_of(self, raw: bytes, now: float) -> bytes:
        """An object as it would be shown at Unix time ``now``: a Table's row counts the object's age."""

    def encode_object(self, kind: str, api_version: str, raw: bytes) -> bytes:
        """The body of a GET answer."""

    def encode_list(self, kind: str, api_version: str, version: str, raws: Iterable[bytes]) -> bytes:
        """The body of a LIST answer of one page."""

    def encode_event(self, type_: str, kind: str, api_version: str, raw: bytes, first: bool = True) -> bytes:
        """One frame of a watch; ``first`` when no event went before it."""

    def encode_bookmark(self, kind: str, api_version: str, version: str, initial_events_end: bool) -> bytes:
        """A frame that says up to where the watch has come."""


def version_number(version: str) -> int:
    """A resourceVersion of up to 1,000 digits as a number; 0 for anything else (KEP-5504: decimals)."""
    return int(version) if version.isascii() and version.isdigit() and len(version) <= _MAX_DIGITS else 0
