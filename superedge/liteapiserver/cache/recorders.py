"""Recorders: each is fed one answer's body while the client gets it. None of their methods raises."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from twisted.logger import Logger

from superedge.kube.errors import DecodeError
from superedge.kube.objects import Item, ListPage, WatchEvent, version_number
from superedge.liteapiserver import metrics
from superedge.liteapiserver.cache.collection import Collection
from superedge.liteapiserver.cache.decoding import Decoder, IdentityDecoder
from superedge.liteapiserver.cache.scopes import Scope
from superedge.liteapiserver.cache.views import View

_log = Logger()


class Recorder(Protocol):
    """Takes body bytes after transfer decoding, still content-encoded."""

    @property
    def settled(self) -> bool:
        """Whether a client whose answer goes no further has what it can go on with."""

    def data(self, pieces: list[bytes]) -> None:
        """Some of the body."""

    def complete(self) -> None:
        """The body is whole."""

    def abort(self) -> None:
        """The body was cut short: what is not known to be whole is dropped."""


def fault(reason: str, problem: Exception, what: str) -> None:
    """Count and log what could not be remembered."""
    metrics.CACHE_FAULTS.labels(reason).inc()
    if isinstance(problem, DecodeError):
        _log.warn("{what} is not remembered: {problem}", what=what, problem=problem)
    else:
        _log.failure("{what} is not remembered", what=what)


class BodyRecorder:
    """Collects a whole body, then gives it to ``finish`` decoded; ``defer`` may put that off.

    ``lost`` is called in the place of ``finish`` when a whole body is too long or cannot be read, ``cut``
    when it was cut short.
    """

    __slots__ = ("_cut", "_decoder", "_defer", "_finish", "_limit", "_lost", "_pieces", "_size", "_what")

    def __init__(
        self,
        what: str,
        decoder: Decoder,
        limit: int,
        finish: Callable[[bytes], None],
        defer: Callable[[int, Callable[[], None]], None] | None = None,
        lost: Callable[[], None] = lambda: None,
        cut: Callable[[], None] = lambda: None,
    ) -> None:
        """``defer`` is given the size of the body as it came, and what finishes it, which does not raise."""
        self._what = what
        self._decoder = decoder
        self._limit = limit
        self._finish = finish
        self._defer = defer
        self._lost = lost
        self._cut = cut
        self._pieces: list[bytes] | None = []
        self._size = 0

    @property
    def settled(self) -> bool:
        """A part of a body is nothing to go on with."""
        return False

    def data(self, pieces: list[bytes]) -> None:
        """Some of the body."""
        if self._pieces is None:
            return
        self._pieces += pieces
        for piece in pieces:
            self._size += len(piece)
        if self._size > self._limit:
            self._pieces = None
            fault("body", self._too_long(), self._what)

    def _too_long(self) -> DecodeError:
        return DecodeError(f"it has more than {self._limit} bytes")

    def complete(self) -> None:
        """The body is whole."""
        pieces, self._pieces = self._pieces, None
        if pieces is None:
            self._lost()
            return
        if self._defer is not None:
            self._defer(self._size, partial(self._conclude, pieces))
        else:
            self._conclude(pieces)

    def _conclude(self, pieces: list[bytes]) -> None:
        try:
            body = b"".join(pieces if type(self._decoder) is IdentityDecoder else self._decoded(pieces))
            pieces.clear()  # nothing of megabytes is there twice for longer than it must be
            self._finish(body)
        except Exception as problem:
            fault("body", problem, self._what)
            self._lost()

    def _decoded(self, pieces: list[bytes]) -> list[bytes]:
        decoded, size = [], 0
        for piece in pieces:
            decoded.append(self._decoder.feed(piece))
            size += len(decoded[-1])
            if size > self._limit:
                raise self._too_long()
        self._decoder.end()
        return decoded

    def abort(self) -> None:
        """Drop what came."""
        self._pieces = None
        self._cut()


class WatchRecorder:
    """Follows a watch; with ``initial``, what comes before the end bookmark replaces the view at once."""

    def __init__(
        self,
        what: str,
        decoder: Decoder,
        limit: int,
        collection: Collection,
        view: View,
        initial: bool,
        start: int | None,
        newest_before: int | None,
    ) -> None:
        """``start`` is the version that the watch goes on from, None when it names none; ``newest_before``
        is for `Collection.replace`.
        """
        self._what = what
        self._decoder = decoder
        self._limit = limit
        self._collection = collection
        self._view = view
        self._splitter = collection.codec.splitter()
        self._start = start
        self._newest_before = newest_before
        self._initial: dict[tuple[str, str], Item] | None = {} if initial else None
        self._gathered = 0
        self._ended = False
        collection.watched(view)

    @property
    def settled(self) -> bool:
        """A client waits for the end of the initial events."""
        return self._initial is None

    def data(self, pieces: list[bytes]) -> None:
        """Some of the stream."""
        if self._ended:
            return
        collection = self._collection
        try:
            for piece in pieces:
                for frame in self._splitter.feed(self._decoder.feed(piece)):
                    event = collection.decode_event(frame)
                    if self._initial is None:
                        start = self._start
                        follows = start is not None and start <= self._view.number
                        collection.apply(self._view, event, follows)
                    else:
                        self._gather(event)
            if self._splitter.pending > self._limit:
                raise DecodeError(f"an event of more than {self._limit} bytes")
        except Exception as problem:
            # What is known stays true, at its version.
            fault("watch", problem, self._what)
            self._view.expired = True
            self._end()

    def _gather(self, event: WatchEvent) -> None:
        assert self._initial is not None
        item = event.item
        name = (item.namespace, item.name)
        if event.type in ("ADDED", "MODIFIED"):
            self._initial[name] = item
            self._gathered += len(item.raw)
            if self._gathered > self._limit:
                raise DecodeError(f"initial events of more than {self._limit} bytes")
        elif event.type == "DELETED":
            self._initial.pop(name, None)
        elif event.type == "BOOKMARK" and event.initial_events_end:
            items = list(self._initial.values())
            self._initial, self._start = None, version_number(item.version)
            kind = f"{item.kind}List" if item.kind else ""
            page = ListPage(kind, item.api_version, item.version, "", items)
            self._collection.replace(self._view.scope, page, self._newest_before)

    def complete(self) -> None:
        """The watch ended; the view stays at its version."""
        self._end()

    def abort(self) -> None:
        """The watch broke off; every event that came whole counts."""
        self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._collection.unwatched(self._view)


class PagedLists:
    """Pages of lists that are not yet at their end, by the token that asks for the next page."""

    MAX_LISTS = 64

    def __init__(self) -> None:
        self._begun: dict[tuple[object, ...], tuple[list[Item], str, int | None]] = {}

    def take(
        self, collection: Collection, scope: Scope, token: str
    ) -> tuple[list[Item], str, int | None] | None:
        """The pages before the one that ``token`` asks for, their version, and what was newest then."""
        return self._begun.pop((collection.key, scope, token), None)

    def put(
        self,
        collection: Collection,
        scope: Scope,
        page: ListPage,
        items: list[Item],
        newest_before: int | None,
    ) -> None:
        """Keep pages until the next comes; the oldest unfinished list gives way."""
        if len(self._begun) >= self.MAX_LISTS:
            del self._begun[next(iter(self._begun))]
        self._begun[collection.key, scope, page.token] = (items, page.version, newest_before)
