"""The webhook: an HTTPS server that answers the API server's reviews from memory.

Whoever reaches its port may ask: it tells which nodes are kept, and nothing else. What a client may occupy is
bounded: its time, its memory, and by `superedge.net.descriptors` the descriptors.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from io import BytesIO
from time import perf_counter
from typing import Any, cast

from klein import Klein
from twisted.application.service import Service
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request, Site

from superedge.config.addresses import parse_address
from superedge.health import metrics
from superedge.health.cloud.admission.reviews import ReviewError, answer
from superedge.interfaces import IReactor
from superedge.net.endpoints import ServerEndpoint
from superedge.net.sockets import address_text

MAX_BODY = 4 * 1024 * 1024
"""Bytes of a review: two objects of the largest size that the API server stores."""
USUAL = 64 * 1024
"""Bytes of a review that is not counted in MAX_LARGE: most are smaller."""
MAX_LARGE = 16
"""Maximum number of larger reviews that are being received."""
REQUEST_TIMEOUT = 10.0
"""Seconds for a request to arrive: the API server waits no longer for the answer."""
IDLE = 90.0
"""Seconds without a byte after which a connection ends."""

_log = Logger()


class _ServingContext:
    """The TLS context for the next connection; until there is a certificate, handshakes fail."""

    def __init__(self) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def current(self) -> ssl.SSLContext:
        return self.context

    def admit(self, connection: object) -> str:
        """API servers show no certificate."""
        return ""


class _Site(Site):
    """Builds requests that are bounded. Metrics count them: there is no line in the log for each."""

    noisy = False
    displayTracebacks = False

    def __init__(self, reactor: IReactor, resource: Any) -> None:
        super().__init__(resource, self._request, timeout=IDLE, reactor=reactor)
        self.large: set[_BoundedRequest] = set()
        """Large reviews that are being received."""

    def _request(self, channel: Any, *_queued: object) -> Request:
        deadline = cast(Any, self.reactor).callLater(REQUEST_TIMEOUT, channel.transport.abortConnection)
        return _BoundedRequest(channel, deadline, self.large)

    def log(self, request: Any) -> None:
        """Called by Twisted for each request."""


class _BoundedRequest(Request):
    """A request whose body is taken if its length is known, small enough, and in time; and in memory."""

    def __init__(self, channel: Any, deadline: Any, large: set[_BoundedRequest]) -> None:
        """``deadline`` aborts the connection."""
        super().__init__(channel)
        self._deadline = deadline
        self._large = large

    def gotLength(self, length: int | None) -> None:
        """Called by Twisted when the head is there."""
        self.content = BytesIO()
        if length is None or length > MAX_BODY or (length > USUAL and len(self._large) >= MAX_LARGE):
            metrics.REVIEWS.labels("refused").inc()
            cast(Any, self.channel).transport.abortConnection()
        elif length > USUAL:
            self._large.add(self)

    def process(self) -> None:
        """Called by Twisted when the request is whole."""
        self._received()
        super().process()

    def connectionLost(self, reason: Failure) -> None:
        """Called by Twisted."""
        self._received()
        super().connectionLost(reason)

    def _received(self) -> None:
        self._large.discard(self)
        if self._deadline.active():
            self._deadline.cancel()


class Webhook(Service):
    """``kept`` is asked at each review: nodes, and until when they are kept."""

    name = "health-webhook"

    def __init__(self, reactor: IReactor, listen: str, kept: Mapping[str, float]) -> None:
        self._kept = kept
        self._tls = _ServingContext()
        self._endpoint = ServerEndpoint(reactor, parse_address(listen), self._tls)
        app = Klein()

        @app.route("/keep", methods=["POST"])
        def keep(request: Request) -> bytes:
            return self._review(request)

        self._site = _Site(reactor, app.resource())
        self._port: IListeningPort | None = None

    @property
    def address(self) -> Any:
        """Where it listens."""
        assert self._port is not None
        return self._port.getHost()

    def serve_with(self, context: ssl.SSLContext) -> None:
        """Show this context's certificate from the next connection on."""
        self._tls.context = context

    def startService(self) -> None:
        """Listen. Raises ConnectError when the address is not available."""
        super().startService()
        self._port = self._endpoint.listen_now(cast(Any, self._site))
        _log.info("webhook listening on {address}", address=address_text(self.address))

    def _review(self, request: Any) -> bytes:
        started = perf_counter()
        request.setHeader(b"Content-Type", b"application/json")
        try:
            found, changes = answer(request.content.read(), self._kept)
        except ReviewError as problem:
            metrics.REVIEWS.labels("refused").inc()
            request.setHeader(b"Content-Type", b"text/plain")
            request.setResponseCode(400)
            return str(problem).encode()
        metrics.REVIEWS.labels("changed" if changes else "allowed").inc()
        metrics.REVIEW_SECONDS.observe(perf_counter() - started)
        return found

    async def stopService(self) -> None:
        """Listen no more."""
        super().stopService()
        if self._port is not None:
            await cast(Any, self._port.stopListening())
