"""The webhook: an HTTPS server that answers the API server's reviews from memory.

Whoever reaches its port may ask: it tells which nodes are kept, and nothing else. What a client may occupy is
bounded: its time, its memory, and by `superedge.net.descriptors` the descriptors.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IListeningPort
from twisted.logger import Logger

from superedge.config.addresses import parse_address
from superedge.health import metrics
from superedge.health.cloud.admission.reviews import ReviewError, answer
from superedge.interfaces import IReactor
from superedge.net.endpoints import ServerEndpoint
from superedge.net.sockets import address_text
from superedge.web.heads import Headers
from superedge.web.idle import idle_client_check
from superedge.web.server import ServerFactory
from superedge.web.serverrequest import Request

MAX_BODY = 4 * 1024 * 1024
"""Bytes of a review: two objects of the largest size that the API server stores."""
USUAL = 64 * 1024
"""Bytes of a review that is not counted in MAX_LARGE: most are smaller."""
MAX_LARGE = 16
"""Maximum number of larger reviews that are being received."""
BODY_TIMEOUT = 10.0
"""Seconds for a review's body: the API server waits no longer for the answer."""
IDLE = 90.0
"""Seconds without a request after which a connection ends."""

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


class Webhook(Service):
    """``kept`` is asked at each review: nodes, and until when they are kept."""

    name = "health-webhook"

    def __init__(self, reactor: IReactor, listen: str, kept: Mapping[str, float]) -> None:
        self._reactor = reactor
        self._kept = kept
        self._tls = _ServingContext()
        self._endpoint = ServerEndpoint(reactor, parse_address(listen), self._tls)
        self._factory = ServerFactory(self._begin)
        self._looking = idle_client_check(reactor, self._factory, IDLE)
        self._large: set[_Review] = set()
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
        self._port = self._endpoint.listen_now(cast(Any, self._factory))
        self._looking.start()
        _log.info("webhook listening on {address}", address=address_text(self.address))

    async def stopService(self) -> None:
        """Listen no more."""
        super().stopService()
        self._looking.stop()
        if self._port is not None:
            await cast(Any, self._port.stopListening())
        self._factory.abort()

    def _begin(self, request: Request) -> None:
        head = request.head
        sizes = [int(value) for name, value in head.headers if name.lower() == b"content-length"]
        if head.target.partition(b"?")[0] != b"/keep":
            self._refuse(request, 404)
        elif head.method != b"POST":
            self._refuse(request, 405, (b"Allow", b"POST"))
        elif not sizes:
            self._refuse(request, 411)
        elif sizes[0] > MAX_BODY:
            self._refuse(request, 413)
        elif sizes[0] > USUAL and len(self._large) >= MAX_LARGE:
            self._refuse(request, 503)
        else:
            review = _Review(self._reactor, request, self._large, self._answer)
            if sizes[0] > USUAL:
                self._large.add(review)
            request.receive(review)

    def _refuse(self, request: Request, status: int, *headers: tuple[bytes, bytes]) -> None:
        """End the connection: the rest of such a request is of no use."""
        metrics.REVIEWS.labels("refused").inc()
        request.close_after()
        request.respond(status, list(headers))

    def _answer(self, request: Request, body: bytes) -> None:
        started = perf_counter()
        try:
            found, changes = answer(body, self._kept)
        except ReviewError as problem:
            metrics.REVIEWS.labels("refused").inc()
            request.respond(400, [(b"Content-Type", b"text/plain")], str(problem).encode())
            return
        metrics.REVIEWS.labels("changed" if changes else "allowed").inc()
        metrics.REVIEW_SECONDS.observe(perf_counter() - started)
        request.respond(200, [(b"Content-Type", b"application/json")], found)


class _Review:
    """Collects a review's body, and aborts the connection when that takes too long."""

    def __init__(
        self,
        reactor: IReactor,
        request: Request,
        large: set[_Review],
        complete: Callable[[Request, bytes], None],
    ) -> None:
        self._request = request
        self._large = large
        self._complete = complete
        self._parts: list[bytes] = []
        self._deadline: IDelayedCall = reactor.callLater(BODY_TIMEOUT, self._late)

    def body(self, data: bytes) -> None:
        """See `RequestReceiver`."""
        self._parts.append(data)

    def body_end(self, trailers: Headers) -> None:
        """See `RequestReceiver`."""
        self.client_lost()
        self._complete(self._request, b"".join(self._parts))

    def client_lost(self) -> None:
        """See `RequestReceiver`."""
        self._large.discard(self)
        if self._deadline.active():
            self._deadline.cancel()

    def _late(self) -> None:
        metrics.REVIEWS.labels("refused").inc()
        self._request.abort()
