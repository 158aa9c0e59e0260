"""Watches held open while the cloud is away: what is known at once, then silence until it is back."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from superedge.kube.request import RequestInfo
from superedge.liteapiserver.cache.answers import WatchAnswer
from superedge.web.heads import Headers
from superedge.web.serverrequest import Request

BOOKMARK_INTERVAL = 60.0
"""Seconds between bookmarks, as in the API server."""
TIMEOUT = 1800.0
"""Seconds a watch is held whose client named none; the API server's minimum."""


class HeldWatch:
    """One client's watch. It is the request's receiver."""

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

    def end_within(self, delay: float) -> None:
        """End after ``delay`` seconds, or earlier when its time is up."""
        if self._timeout.active() and self._timeout.getTime() > self._reactor.seconds() + delay:
            self._timeout.reset(delay)

    def end(self) -> None:
        """End the response in the orderly way: the client watches again."""
        self._stop()
        self._request.finish()

    def _stop(self) -> None:
        for call in (self._timeout, self._next):
            if call is not None and call.active():
                call.cancel()
        self._ended(self)

    # -- RequestReceiver

    def body(self, data: bytes) -> None:
        """A watch has no body that matters."""

    def body_end(self, trailers: Headers) -> None:
        """The request is complete."""

    def client_lost(self) -> None:
        """The client is gone."""
        self._stop()


class HeldWatches:
    """All of them."""

    def __init__(self, reactor: IReactorTime, random: Random | None = None) -> None:
        self._reactor = reactor
        self._random = random or Random()
        self._held: set[HeldWatch] = set()
        self._doubtful: list[HeldWatch] = []

    def __len__(self) -> int:
        return len(self._held)

    def open(self, request: Request, answer: WatchAnswer, doubtful: bool = False) -> None:
        """Answer a watch from the cache.

        ``doubtful`` when the cloud itself may be there: `resume_doubtful` ends it then.
        """
        request.start(200, b"OK", answer.headers, False)
        if answer.frames:
            request.write(answer.frames)
        request.flush()
        self._hold(request, answer.timeout, answer.bookmark, doubtful)

    def adopt(self, request: Request, info: RequestInfo, elapsed: float, doubtful: bool = False) -> None:
        """Go on with a watch whose way to the cloud broke: it stays open. ``doubtful`` as in `open`."""
        timeout = info.number("timeoutSeconds")
        self._hold(request, max(1.0, timeout - elapsed) if timeout else None, None, doubtful)

    def _hold(
        self,
        request: Request,
        timeout: float | None,
        bookmark: bytes | None,
        doubtful: bool,
    ) -> None:
        seconds = timeout if timeout is not None else TIMEOUT * (1 + self._random.random())
        watch = HeldWatch(self._reactor, request, self._held.discard, seconds, bookmark)
        self._held.add(watch)
        if doubtful:
            self._doubtful.append(watch)

    def resume_doubtful(self) -> None:
        """The cloud was there all the time: who lost a connection alone watches again at once."""
        doubtful, self._doubtful = self._doubtful, []
        for watch in doubtful:
            if watch in self._held:
                watch.end()

    def resume(self, within: float) -> None:
        """The cloud is back: end each at some moment of the next ``within`` seconds."""
        self._doubtful.clear()
        for watch in list(self._held):
            watch.end_within(within * self._random.random())

    def end_all(self) -> None:
        """End every one now."""
        for watch in list(self._held):
            watch.end()
