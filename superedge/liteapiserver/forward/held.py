"""Watches that stay open while the cloud is away: cached events first, then bookmarks only."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from superedge.kube.request import RequestInfo
from superedge.liteapiserver.cache.answers import WatchAnswer
from superedge.web.heads import Headers
from superedge.web.serverrequest import Request

BOOKMARK_INTERVAL = 60.0
"""Seconds between bookmarks, as the API server sends them."""
TIMEOUT = 1800.0
"""Seconds that a watch without timeoutSeconds is held, at least; the API server's minimum."""


class HeldWatch:
    """One client's watch; the receiver of its request."""

    def __init__(
        self,
        reactor: IReactorTime,
        request: Request,
        ended: Callable[[HeldWatch], None],
        timeout: float,
        bookmark: bytes | None,
    ) -> None:
        self._reactor = reactor
        self._request = request
        self._ended = ended
        self._bookmark = bookmark
        self._timeout: IDelayedCall = reactor.callLater(timeout, self.end)
        self._next: IDelayedCall | None = None
        if bookmark is not None:
            self._next = reactor.callLater(BOOKMARK_INTERVAL, self._send_bookmark)
        request.receive(self)

    def _send_bookmark(self) -> None:
        assert self._bookmark is not None
        self._request.write([self._bookmark])
        self._request.flush()
        self._next = self._reactor.callLater(BOOKMARK_INTERVAL, self._send_bookmark)

    def end_early(self, delay: float) -> None:
        """End after ``delay`` seconds at the latest."""
        if self._timeout.active() and self._timeout.getTime() > self._reactor.seconds() + delay:
            self._timeout.reset(delay)

    def end(self) -> None:
        """End the response in the orderly way, so that the client watches again."""
        self._stop()
        self._request.finish()

    def _stop(self) -> None:
        for call in (self._timeout, self._next):
            if call is not None and call.active():
                call.cancel()
        self._ended(self)

    # -- RequestReceiver

    def body(self, data: bytes) -> None:
        """Ignore the body: that of a watch says nothing."""

    def body_end(self, trailers: Headers) -> None:
        """The request is complete."""

    def client_lost(self) -> None:
        """The client closed the connection."""
        self._stop()


class HeldWatches:
    """The watches that are held open."""

    def __init__(self, reactor: IReactorTime, random: Random | None = None) -> None:
        self._reactor = reactor
        self._random = random or Random()
        self._held: set[HeldWatch] = set()
        self._unconfirmed: list[HeldWatch] = []

    def __len__(self) -> int:
        return len(self._held)

    def open(self, request: Request, answer: WatchAnswer, unconfirmed: bool = False) -> None:
        """Answer a watch from the cache.

        ``unconfirmed`` says that the cloud may be reachable after all; `end_unconfirmed` then ends the watch.
        """
        request.start(200, b"OK", answer.headers, False)
        if answer.frames:
            request.write(answer.frames)
        request.flush()
        self._hold(request, answer.timeout, answer.bookmark, unconfirmed)

    def adopt(self, request: Request, info: RequestInfo, elapsed: float, unconfirmed: bool = False) -> None:
        """Keep a watch open that began ``elapsed`` seconds ago and lost the cloud; see `open`."""
        timeout = info.number("timeoutSeconds")
        self._hold(request, max(1.0, timeout - elapsed) if timeout else None, None, unconfirmed)

    def _hold(
        self,
        request: Request,
        timeout: float | None,
        bookmark: bytes | None,
        unconfirmed: bool,
    ) -> None:
        seconds = timeout if timeout is not None else TIMEOUT * (1 + self._random.random())
        watch = HeldWatch(self._reactor, request, self._held.discard, seconds, bookmark)
        self._held.add(watch)
        if unconfirmed:
            self._unconfirmed.append(watch)

    def end_unconfirmed(self) -> None:
        """The cloud was reachable all the time: end the watches that lost only their connection."""
        unconfirmed, self._unconfirmed = self._unconfirmed, []
        for watch in unconfirmed:
            if watch in self._held:
                watch.end()

    def end_all_within(self, within: float) -> None:
        """The cloud is back: end each watch at a random moment of the next ``within`` seconds."""
        self._unconfirmed.clear()
        for watch in list(self._held):
            watch.end_early(within * self._random.random())

    def end_all(self) -> None:
        """End every watch now."""
        for watch in list(self._held):
            watch.end()
