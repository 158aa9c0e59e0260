"""Reads the body of an auth request that is answered offline: the answer depends on it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from superedge.kube.status import status_body
from superedge.web.bounded import BoundedBody
from superedge.web.heads import Headers
from superedge.web.serverrequest import CONTINUE, Request

TIMEOUT = 10.0
"""Seconds that a client has to send the body."""
_TOO_LONG = "the request's body is too large"
_TOO_SLOW = f"the request's body did not come within {TIMEOUT:g} seconds"


class BodyReader:
    """The receiver of an auth request; calls ``answer`` with the whole body."""

    def __init__(
        self,
        reactor: IReactorTime,
        request: Request,
        body: BoundedBody,
        answer: Callable[[bytes | None], None],
    ) -> None:
        """``body`` holds what was already read."""
        self._request = request
        self._body = body
        self._answer = answer
        self._timeout = reactor.callLater(TIMEOUT, self._refuse, 408, _TOO_SLOW)
        if any(name.lower() == b"expect" for name, _ in request.head.headers):
            request.interim(CONTINUE)
        request.resumeProducing()
        request.receive(self)

    def body(self, data: bytes) -> None:
        """Add to the body."""
        if self._timeout.active() and not self._body.add(data):
            self._timeout.cancel()
            self._refuse(413, _TOO_LONG)

    def body_end(self, trailers: Headers) -> None:
        """The body is whole."""
        if self._timeout.active():
            self._timeout.cancel()
            self._answer(self._body.value)

    def client_lost(self) -> None:
        """The client closed the connection."""
        if self._timeout.active():
            self._timeout.cancel()

    def _refuse(self, code: int, message: str) -> None:
        self._request.close_after()
        self._request.respond(code, [(b"Content-Type", b"application/json")], status_body(code, message))
