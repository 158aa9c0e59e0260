"""Objects, lists and watch events, of which only the metadata are decoded. Pure.

An `Item` keeps the object's bytes as the API server sent them in an object, a list or an event. Each
representation has a `Codec`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from superedge.kube.errors import DecodeError

INITIAL_EVENTS_END = "k8s.io/initial-events-end"
"""Annotation of the bookmark that ends a watch's initial events (Kubernetes API concepts)."""

_MAX_DIGITS = 1000


class Item(NamedTuple):
    """One object. ``kind`` and ``api_version`` are empty when its bytes lack them, as in a list."""

    namespace: str
    name: str
    version: str
    kind: str
    api_version: str
    raw: bytes


def require_name(item: Item) -> Item:
    """The item itself. Raises DecodeError when it has no name."""
    if not item.name:
        raise DecodeError("an object has no name")
    return item


class KnownItems:
    """Items that a list is likely to contain again, in the list's order.

    An object whose bytes are unchanged is not decoded again.
    """

    __slots__ = ("_at", "_items", "_places")

    def __init__(self, items: Sequence[Item] = ()) -> None:
        self._items = items
        self._at = 0
        self._places: dict[tuple[str, str], int] = {}

    def read(self, raw: bytes, decode: Callable[[bytes], Item]) -> Item:
        """The item for the next object in the list."""
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
        """The index after an item that was not the expected one at ``at``."""
        if not self._places:
            self._places = {(each.namespace, each.name): at for at, each in enumerate(self._items, 1)}
        return self._places.get((item.namespace, item.name), at)


class ListPage(NamedTuple):
    """One page of a list: ``kind`` is the list's; ``token`` (continue) is empty on the last page."""

    kind: str
    api_version: str
    version: str
    token: str
    items: list[Item]


class WatchEvent(NamedTuple):
    """One frame: ``type`` is ADDED, MODIFIED, DELETED, BOOKMARK or ERROR.

    ``item`` is the object; that of a BOOKMARK has only a version. ``code`` is an ERROR's status code.
    """

    type: str
    item: Item
    initial_events_end: bool = False
    code: int = 0


class FrameSplitter(Protocol):
    """Splits a watch stream into frames."""

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that ``data`` completes. Raises DecodeError."""

    @property
    def pending(self) -> int:
        """Bytes of the incomplete frame."""

    def framed(self, frame: bytes) -> bytes:
        """A frame as it is in the stream."""


class FieldPath(NamedTuple):
    """A field's path, by names in JSON and by numbers in protobuf, which are empty when they are not known.

    A ``boolean`` that is absent is false.
    """

    names: tuple[str, ...]
    numbers: tuple[int, ...]
    boolean: bool = False


class Lifecycle(NamedTuple):
    """The deletion state in an object's metadata. Source: Kubernetes, "Finalizers" and API conventions."""

    uid: str = ""
    deleting: bool = False
    """Whether a deletion was requested."""
    kept: bool = False
    """Whether finalizers or a grace period delay the deletion."""


class Codec(Protocol):
    """Decodes and encodes one representation. The methods that decode raise DecodeError."""

    shared: bytes
    """Data that all objects share and none contains: a Table's columns. Empty in other representations."""
    whole: bool
    """Whether objects have all their fields, not only metadata."""

    def decode_object(self, body: bytes) -> Item:
        """The object in a GET response."""

    def decode_list(self, body: bytes, known: KnownItems | None = None) -> ListPage:
        """The page in a LIST response. Objects that are unchanged in ``known`` are the same items."""

    def splitter(self) -> FrameSplitter:
        """A new splitter for one watch stream."""

    def decode_event(self, frame: bytes) -> WatchEvent:
        """The event in a frame."""

    def labels(self, raw: bytes) -> Mapping[str, str]:
        """An object's labels."""

    def field(self, raw: bytes, path: FieldPath) -> str:
        """A field's value as field selectors compare it; empty when absent. Requires ``whole``."""

    def lifecycle(self, raw: bytes) -> Lifecycle:
        """An object's deletion state."""

    def metadata(self, raw: bytes) -> bytes:
        """An object's metadata, in JSON."""

    def derive(self, metadata: bytes, whole: bytes) -> bytes | None:
        """An object in this representation, made from its JSON metadata; None when that is not enough.

        ``whole`` is the object in JSON, or empty when it is not available.
        """

    def as_of(self, raw: bytes, now: float) -> bytes:
        """The object as of Unix time ``now``: a Table's row contains the object's age."""

    def encode_object(self, kind: str, api_version: str, raw: bytes) -> bytes:
        """The body of a GET response."""

    def encode_list(self, kind: str, api_version: str, version: str, raws: Iterable[bytes]) -> bytes:
        """The body of a LIST response of one page."""

    def encode_event(self, type_: str, kind: str, api_version: str, raw: bytes, first: bool = True) -> bytes:
        """One frame of a watch; ``first`` for its first event."""

    def encode_bookmark(self, kind: str, api_version: str, version: str, initial_events_end: bool) -> bytes:
        """A BOOKMARK frame with a resourceVersion."""


def version_number(version: str) -> int:
    """A resourceVersion of up to 1,000 digits as a number; 0 for anything else (KEP-5504: decimals)."""
    return int(version) if version.isascii() and version.isdigit() and len(version) <= _MAX_DIGITS else 0
