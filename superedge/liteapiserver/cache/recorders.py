"""Recorders: each takes the body of one response while the client gets it. Their methods do not raise."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Protocol

from twisted.logger import Logger

from superedge.kube.errors import DecodeError
from superedge.kube.objects import Item, ListPage, WatchEvent, version_number
from superedge.liteapiserver import metrics
from superedge.liteapiserver.cache.collection import Collection
from superedge.liteapiserver.cache.decoding import Decoder, IdentityDecoder
from superedge.liteapiserver.cache.objects import CollectionKey
from superedge.liteapiserver.cache.scopes import Scope
from superedge.liteapiserver.cache.views import View

MAX_EVENT = 8 * 1024 * 1024
"""Bytes of the longest event of a watch, several times those of an object that an API server stores."""

_log = Logger()


class Recorder(Protocol):
    """Takes a body without transfer encoding, still with its content encoding."""

    @property
    def resumable(self) -> bool:
        """Whether a client whose response ends here can go on from what it has."""

    def data(self, chunks: list[bytes]) -> None:
        """Some of the body."""

    def complete(self) -> None:
        """The body is whole."""

    def abort(self) -> None:
        """The body was cut short: drop what is incomplete."""


def fault(reason: str, problem: Exception, what: str) -> None:
    """Count and log a response that could not be cached."""
    metrics.CACHE_FAULTS.labels(reason).inc()
    if isinstance(problem, DecodeError):
        _log.warn("{what} is not cached: {problem}", what=what, problem=problem)
    else:
        _log.failure("{what} is not cached", what=what)


UNCOUNTED = 4096
"""Bytes up to which a body is not counted: a request on its way takes as much memory anyway."""


class PendingBytes:
    """Bounds the bytes of unfinished bodies of each identity, so that none takes all memory."""

    def __init__(self, limit: int) -> None:
        """``limit`` is in bytes for one identity."""
        self.limit = limit
        self._sizes: dict[str, int] = {}

    def total(self, identity: str) -> int:
        """The bytes of an identity."""
        return self._sizes.get(identity, 0)

    def add(self, identity: str, size: int) -> bool:
        """Add ``size`` bytes, or subtract; whether the total is within the limit."""
        total = self.total(identity) + size
        if total:
            self._sizes[identity] = total
        else:
            self._sizes.pop(identity, None)
        return total <= self.limit


class BodyRecorder:
    """Collects a body, then gives it decoded to ``finish``, possibly later through ``defer``.

    ``lost`` is called instead when a complete body is too long or cannot be read, ``cut`` when it was cut
    short.
    """

    __slots__ = (
        "_chunks",
        "_counted",
        "_cut",
        "_decoder",
        "_defer",
        "_finish",
        "_identity",
        "_lost",
        "_pending",
        "_size",
        "_what",
    )

    def __init__(
        self,
        what: str,
        decoder: Decoder,
        pending: PendingBytes,
        identity: str,
        finish: Callable[[bytes], None],
        defer: Callable[[int, Callable[[], None]], None] | None = None,
        lost: Callable[[], None] = lambda: None,
        cut: Callable[[], None] = lambda: None,
    ) -> None:
        """``pending`` counts the bytes under ``identity``, and its limit bounds the decoded body, too.
        ``defer`` gets the encoded size of the body and a function that finishes the recording and does not
        raise.
        """
        self._what = what
        self._decoder = decoder
        self._pending = pending
        self._identity = identity
        self._finish = finish
        self._defer = defer
        self._lost = lost
        self._cut = cut
        self._chunks: list[bytes] | None = []
        self._size = 0
        self._counted = 0
        """The part of the size that ``pending`` has."""

    @property
    def resumable(self) -> bool:
        """False: a part of a body is of no use."""
        return False

    def data(self, chunks: list[bytes]) -> None:
        """Some of the body."""
        if self._chunks is None:
            return
        self._chunks += chunks
        for chunk in chunks:
            self._size += len(chunk)
        if self._size > UNCOUNTED:
            added, self._counted = self._size - self._counted, self._size
            if not self._pending.add(self._identity, added):
                self._drop()
                fault("body", self._too_long(), self._what)

    def _drop(self) -> list[bytes] | None:
        """Stop collecting; the chunks so far."""
        chunks, self._chunks = self._chunks, None
        if chunks is not None and self._counted:
            self._pending.add(self._identity, -self._counted)
        return chunks

    def _too_long(self) -> DecodeError:
        return DecodeError(f"it, with what else is on its way, has more than {self._pending.limit} bytes")

    def complete(self) -> None:
        """The body is whole."""
        chunks = self._drop()
        if chunks is None:
            self._lost()
            return
        if self._defer is not None:
            self._defer(self._size, partial(self._conclude, chunks))
        else:
            self._conclude(chunks)

    def _conclude(self, chunks: list[bytes]) -> None:
        try:
            body = b"".join(chunks if type(self._decoder) is IdentityDecoder else self._decoded(chunks))
            chunks.clear()  # frees the encoded body before it is decoded further
            self._finish(body)
        except Exception as problem:
            fault("body", problem, self._what)
            self._lost()

    def _decoded(self, chunks: list[bytes]) -> list[bytes]:
        decoded, size = [], 0
        for chunk in chunks:
            decoded.append(self._decoder.feed(chunk))
            size += len(decoded[-1])
            if size > self._pending.limit:
                raise self._too_long()
        self._decoder.end()
        return decoded

    def abort(self) -> None:
        """Drop the body."""
        self._drop()
        self._cut()


class WatchRecorder:
    """Applies a watch to a view; with ``initial``, the initial events replace the view at their end."""

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
        """``start`` is the version that the watch continues, None without one; ``newest_before`` is for
        `Collection.replace`.
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
        collection.watch_started(view)

    @property
    def resumable(self) -> bool:
        """False until the initial events have ended."""
        return self._initial is None

    def data(self, chunks: list[bytes]) -> None:
        """Some of the stream."""
        if self._ended:
            return
        collection = self._collection
        try:
            for chunk in chunks:
                for frame in self._splitter.feed(self._decoder.feed(chunk)):
                    event = collection.decode_event(frame)
                    if self._initial is None:
                        start = self._start
                        follows = start is not None and start <= self._view.number
                        collection.apply(self._view, event, follows)
                        if self._view.observers:
                            self._observed(event)
                    else:
                        self._gather(event)
            longest = min(self._limit, MAX_EVENT)
            if self._splitter.pending > longest:
                raise DecodeError(f"an event of more than {longest} bytes")
        except Exception as problem:
            # The view stays valid at its version.
            fault("watch", problem, self._what)
            self._view.expired = True
            self._end()

    def _observed(self, event: WatchEvent) -> None:
        if event.type in ("ADDED", "MODIFIED", "DELETED"):
            name = (event.item.namespace, event.item.name)
            stored = self._view.members.get(name)
            for observer in self._view.observers:
                observer(name, stored.item if stored is not None else None)

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
        """The watch broke off; its complete events have been applied."""
        self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._collection.watch_ended(self._view)


class _PartialList(NamedTuple):
    items: list[Item]
    version: str
    newest_before: int | None
    size: int
    """Bytes of the items."""


class PagedLists:
    """The pages of unfinished lists, by the continue token of the next page."""

    MAX_LISTS = 64

    def __init__(self, limit: int) -> None:
        """``limit`` is in bytes for all unfinished lists of one identity."""
        self._limit = limit
        self._unfinished: dict[tuple[CollectionKey, Scope, str], _PartialList] = {}

    def take(self, collection: Collection, scope: Scope, token: str) -> _PartialList | None:
        """Remove and return the pages before the one of ``token``."""
        return self._unfinished.pop((collection.key, scope, token), None)

    def put(
        self,
        collection: Collection,
        scope: Scope,
        page: ListPage,
        before: _PartialList | None,
        newest_before: int | None,
    ) -> None:
        """Keep a page and those before it until the next one. Over the limit, older lists of the same
        identity are dropped; over MAX_LISTS, the oldest list of the identity or else of any.
        """
        size = sum(len(item.raw) for item in page.items)
        items = page.items
        if before is not None:
            items, size = before.items + items, before.size + size
        own = [key for key in self._unfinished if key[0].identity == collection.key.identity]
        used = size + sum(self._unfinished[key].size for key in own)
        while own and used > self._limit:
            used -= self._unfinished.pop(own.pop(0)).size
        if used > self._limit:
            return
        if len(self._unfinished) >= self.MAX_LISTS:
            del self._unfinished[own[0] if own else next(iter(self._unfinished))]
        self._unfinished[collection.key, scope, page.token] = _PartialList(
            items, page.version, newest_before, size
        )
