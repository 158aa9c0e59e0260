"""WATCH: writes events as lines of a response.

Source: Kubernetes API concepts, "Efficient detection of changes", "Watch bookmarks", "Streaming lists".
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime
from twisted.web.http import Request
from zope.interface import implementer

from superedge.testing import status as errors
from superedge.testing.listing import parse_version
from superedge.testing.representation import Representation
from superedge.testing.selectors import Predicate
from superedge.testing.storage import Collection, Compacted, Event, Store, Subscription

MAX_QUEUED = 1000
"""Lines that may wait for a client before its watch ends, as kube-apiserver ends slow watches."""


@implementer(IPushProducer)
class Watch:
    """One client's watch; ``done`` fires when it has ended and the request can be finished."""

    def __init__(
        self,
        reactor: IReactorTime,
        request: Request,
        store: Store,
        collection: Collection,
        namespace: str,
        selected: Predicate | None,
        representation: Representation,
        bookmark_interval: float,
    ) -> None:
        self._reactor = reactor
        self._request = request
        self._store = store
        self._collection = collection
        self._namespace = namespace
        self._selected = selected
        self._representation = representation
        self._bookmark_interval = bookmark_interval
        self._queue: deque[bytes] = deque()
        self._paused = False
        self._ended = False
        self._bookmarks = False
        self._calls: list[IDelayedCall] = []
        self._subscription: Subscription | None = None
        self.done: Deferred[None] = Deferred(lambda _: self._stop())

    def start(self, query: Mapping[str, str]) -> None:
        """Send the initial events and begin to watch. Raises APIError before anything is written."""
        version, initial = query.get("resourceVersion", ""), query.get("sendInitialEvents", "")
        match = query.get("resourceVersionMatch", "")
        self._check(initial, match)
        self._bookmarks = query.get("allowWatchBookmarks", "") in ("true", "1")
        asked = parse_version(version or "0")
        streaming = initial == "true"
        if streaming and asked > self._store.revision:
            raise errors.too_large(asked, self._store.revision)
        seconds = parse_version(query.get("timeoutSeconds") or "0") or random.randint(1800, 3600)
        self._request.write(b"")
        self._request.registerProducer(self, True)
        if streaming or (not asked and initial != "false"):
            for stored in self._store.snapshot(self._collection, self._namespace):
                if self._selected is None or self._selected(stored.object):
                    self._send(self._representation.event("ADDED", stored, self._reactor.seconds()))
            if streaming and self._bookmarks:
                self._send(self._representation.bookmark(self._store.revision, True))
        elif asked:
            try:
                missed = self._store.events_after(self._collection, asked)
            except Compacted as problem:
                status = errors.too_old(asked, problem.oldest).status()
                self._send(self._representation.line("ERROR", status))
                self._end()
                return
            for event in missed:
                self._changed(event)
        self._begin(seconds)

    def _check(self, initial: str, match: str) -> None:
        if initial and match != "NotOlderThan":
            field, problem = (
                "resourceVersionMatch",
                ("Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
            )
        elif match and not initial:
            field, problem = (
                "resourceVersionMatch",
                (
                    "Forbidden: resourceVersionMatch is forbidden for watch"
                    " unless sendInitialEvents is provided"
                ),
            )
        else:
            return
        raise errors.invalid("meta.k8s.io", "ListOptions", "", field, problem, "FieldValueForbidden")

    def _begin(self, seconds: float) -> None:
        if self._ended:
            return
        self._subscription = self._store.subscribe(self._collection, self._changed)
        self._calls.append(self._reactor.callLater(seconds, self._timed_out))
        if self._bookmarks:
            self._calls.append(self._reactor.callLater(self._bookmark_interval, self._tick))

    def _tick(self) -> None:
        self._calls.pop()
        self._send(self._representation.bookmark(self._store.revision, False))
        if not self._ended:
            self._calls.append(self._reactor.callLater(self._bookmark_interval, self._tick))

    def _timed_out(self) -> None:
        if self._bookmarks:
            self._send(self._representation.bookmark(self._store.revision, False))
        self._end()

    def _changed(self, event: Event) -> None:
        """Send a change as the selectors see it: an object may enter or leave the selection."""
        stored = event.stored
        if self._namespace and stored.key.namespace != self._namespace:
            return
        kind: str = event.type
        if self._selected is not None:
            was = event.previous is not None and self._selected(event.previous.object)
            is_now = event.type != "DELETED" and self._selected(stored.object)
            if not was and not is_now:
                return
            kind = "ADDED" if not was else "MODIFIED" if is_now else "DELETED"
        self._send(self._representation.event(kind, stored, self._reactor.seconds()))

    def _send(self, line: bytes) -> None:
        if self._ended:
            return
        if not self._paused:
            self._request.write(line)
        else:
            self._queue.append(line)
            if len(self._queue) > MAX_QUEUED:
                self._end()

    def _stop(self) -> None:
        self._ended = True
        if self._subscription:
            self._subscription.cancel()
        for call in self._calls:
            if call.active():
                call.cancel()
        self._calls.clear()
        self._queue.clear()

    def _end(self) -> None:
        """End the response normally; the client will watch again."""
        if not self._ended:
            self._stop()
            self._request.unregisterProducer()
            self.done.callback(None)

    def pauseProducing(self) -> None:
        """Queue lines: the client does not keep up."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Send the queued lines."""
        self._paused = False
        while self._queue and not self._paused:
            self._request.write(self._queue.popleft())

    def stopProducing(self) -> None:
        """The client closed the connection."""
        self._stop()

    def end(self) -> None:
        """End the watch because the server stops."""
        self._end()
