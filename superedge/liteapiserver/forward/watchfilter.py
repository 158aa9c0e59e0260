"""Filters the events of one watch, and tells again what the filters show differently. Pure.

An object that becomes hidden is shown as deleted, one never shown is left out, one that appears is added. The
DELETED event carries the whole object as it was shown last, as an API server does for an object that leaves
a selector. Clients need its fields to undo what they derived.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from superedge.kube.codecs import codec_for
from superedge.kube.errors import DecodeError
from superedge.kube.media import PROTOBUF, Representation
from superedge.kube.objects import Item, WatchEvent, version_number
from superedge.kube.request import RequestInfo
from superedge.liteapiserver.cache.scopes import Name
from superedge.liteapiserver.forward.bodies import Apply


class Known:
    """An object as the API server sent it, and as the client has it; None for hidden. Immutable."""

    __slots__ = ("__weakref__", "raw", "shown")

    def __init__(self, raw: bytes, shown: bytes | None) -> None:
        self.raw = raw
        self.shown = shown


class KnownObjects:
    """What watches have shown last: those of the same resource and form share it.

    Otherwise each watch would have all objects in memory. What no watch has is dropped.
    """

    def __init__(self) -> None:
        self._latest: WeakValueDictionary[Name, Known] = WeakValueDictionary()

    def share(self, name: Name, raw: bytes, shown: bytes | None) -> Known:
        """The same as another watch has, if it is equal."""
        latest = self._latest.get(name)
        if latest is None or latest.raw != raw or latest.shown != shown:
            latest = self._latest[name] = Known(raw, shown)
        return latest


class WatchFilter:
    """Takes the stream of a watch, and returns what the client gets."""

    def __init__(
        self,
        apply: Apply,
        media_type: str,
        request: RequestInfo,
        base: Mapping[Name, Item],
        known: KnownObjects,
        missed: bool = False,
        remembers: bool = True,
        replayed: bool = False,
        shown: Callable[[int], None] | None = None,
        max_event: int = 64 * 1024 * 1024,
    ) -> None:
        """``base`` are the objects as they were when a client resumes, or later; ``missed`` says that it may
        have an earlier view of them, ``replayed`` that the events come from the cache, which sends every
        change as ADDED. ``known`` is shared with other watches. Without ``remembers`` objects are never
        hidden nor told again. ``shown`` is called with versions that the client is shown.
        """
        codec = codec_for(Representation(media_type))
        assert codec is not None
        self._apply = apply
        self._codec = codec
        self._splitter = codec.splitter()
        self._remembers = remembers
        self._note = shown
        self._max_event = max_event
        self._bookmarks = request.flag("allowWatchBookmarks")
        self._initial = request.flag("sendInitialEvents")
        """Whether the initial events have not ended."""
        version = request.query.get("resourceVersion", "")
        resumes = version not in ("", "0") and not self._initial
        self._position = version if resumes else ""
        """The version from which the client could resume; empty while there is none."""
        # The events whose objects a client that resumes from a version may have seen before.
        self._old: tuple[str, ...] = ()
        if resumes:
            self._old = ("ADDED", "MODIFIED", "DELETED") if replayed else ("MODIFIED", "DELETED")
        self._kind = self._api_version = ""
        self._known = known
        self._objects: dict[Name, Known] = {}
        self._missed: list[Name] = []
        if remembers and resumes:
            start = version_number(version)
            encoded = media_type == PROTOBUF
            for name, item in base.items():
                # A later one comes in the stream; another representation cannot be told.
                if version_number(item.version) <= start and item.raw.startswith(b"{") is not encoded:
                    self._typed(item)
                    self._objects[name] = known.share(name, item.raw, apply(item.raw))
            if missed:
                self._missed = list(self._objects)

    def _typed(self, item: Item) -> None:
        if item.kind:
            self._kind, self._api_version = item.kind, item.api_version

    def begin(self) -> list[bytes]:
        """The events before those of the stream: what the client may have missed."""
        missed, self._missed = self._missed, []
        frames = []
        for name in missed:
            known = self._objects[name]
            type_ = "DELETED" if known.shown is None else "MODIFIED"
            frames.append(self._encoded(type_, known.raw if known.shown is None else known.shown))
        return self._at_position(frames)

    def changed(self) -> list[bytes]:
        """The events that tell what the filters show differently from now on."""
        return [] if self._initial else self._at_position(self._different())

    def _different(self) -> list[bytes]:
        frames = []
        for name, known in self._objects.items():
            shown, before = self._apply(known.raw), known.shown
            if shown == before:
                continue
            self._objects[name] = self._known.share(name, known.raw, shown)
            if shown is not None:
                frames.append(self._encoded("ADDED" if before is None else "MODIFIED", shown))
            elif before is not None:
                frames.append(self._encoded("DELETED", before))
        return frames

    def _at_position(self, frames: list[bytes]) -> list[bytes]:
        """With a bookmark, since events with objects of earlier versions move a client back."""
        if frames and self._bookmarks and self._position:
            bookmark = self._codec.encode_bookmark(self._kind, self._api_version, self._position, False)
            frames.append(bookmark)
        return frames

    def feed(self, chunks: Iterable[bytes]) -> list[bytes]:
        """The events that the chunks complete, filtered. Raises DecodeError, and what filters raise."""
        out: list[bytes] = []
        for chunk in chunks:
            for frame in self._splitter.feed(chunk):
                self._event(frame, out)
        if self._splitter.pending > self._max_event:
            raise DecodeError(f"an event of more than {self._max_event} bytes")
        return out

    def _event(self, frame: bytes, out: list[bytes]) -> None:
        event = self._codec.decode_event(frame)
        if event.type in ("ADDED", "MODIFIED", "DELETED"):
            if event.type == "DELETED":
                told = self._deleted(frame, event)
            else:
                told = self._present(frame, event)
            if told:
                out.append(told)
        else:
            if event.initial_events_end:
                out += self._different()
                self._initial = False
            out.append(self._splitter.framed(frame))
        version = event.item.version
        if self._position or (event.type == "BOOKMARK" and not self._initial):
            self._position = version or self._position
        if self._note is not None:
            self._note(version_number(version))

    def _present(self, frame: bytes, event: WatchEvent) -> bytes:
        """The event of an object that was added or changed; empty when it does not concern the client."""
        item = event.item
        shown = self._apply(item.raw)
        if not self._remembers:
            return self._told(frame, event, event.type, shown)
        self._typed(item)
        name = (item.namespace, item.name)
        before = self._objects.get(name)
        self._objects[name] = self._known.share(name, item.raw, shown)
        if shown is not None:
            appears = before is not None and before.shown is None
            return self._told(frame, event, "ADDED" if appears else event.type, shown)
        return self._gone(event, before)

    def _deleted(self, frame: bytes, event: WatchEvent) -> bytes:
        """The event of an object that was deleted; empty when it does not concern the client."""
        item = event.item
        before = self._objects.pop((item.namespace, item.name), None)
        if before is not None and before.shown is None:
            return b""
        shown = self._apply(item.raw)
        if shown is not None:
            return self._told(frame, event, "DELETED", shown)
        return self._gone(event, before)

    def _gone(self, event: WatchEvent, before: Known | None) -> bytes:
        """The event of an object that is hidden from now on."""
        if before is None and event.type not in self._old:
            return b""
        if before is not None and before.shown is None:
            return b""
        last = event.item.raw if before is None or before.shown is None else before.shown
        return self._encoded("DELETED", _at_version(last, event.item.version))

    def _told(self, frame: bytes, event: WatchEvent, type_: str, shown: bytes | None) -> bytes:
        if shown is event.item.raw and type_ == event.type:
            return self._splitter.framed(frame)
        self._typed(event.item)
        return self._encoded(type_, shown or b"")

    def _encoded(self, type_: str, raw: bytes) -> bytes:
        return self._codec.encode_event(type_, self._kind, self._api_version, raw)


def _at_version(raw: bytes, version: str) -> bytes:
    """An object in JSON, the only form in which objects are hidden, with another resourceVersion."""
    item: dict[str, Any] = msgspec.json.decode(raw)
    item.setdefault("metadata", {})["resourceVersion"] = version
    return msgspec.json.encode(item)
