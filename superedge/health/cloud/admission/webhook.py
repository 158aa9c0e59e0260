"""The webhook: an HTTPS server that answers the API server's reviews from memory."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any, cast

from klein import Klein
from OpenSSL import SSL
from twisted.application.service import Service
from twisted.internet.interfaces import IListeningPort, IOpenSSLServerConnectionCreator
from twisted.internet.ssl import CertificateOptions
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.web.iweb import IRequest
from twisted.web.server import Request, Site
from zope.interface import implementer

from superedge.config.addresses import TCPAddress, parse_address
from superedge.health import metrics
from superedge.health.cloud.admission.reviews import ReviewError, answer
from superedge.interfaces import IReactor
from superedge.net.sockets import address_text

MAX_BODY = 4 * 1024 * 1024
"""Bytes of a review: two objects of the largest size that the API server stores."""
IDLE = 90.0
"""Seconds without a byte after which a connection ends."""

_log = Logger()


@implementer(IOpenSSLServerConnectionCreator)
class _Certificate:
    """The certificate for the next connection; without one there is none."""

    def __init__(self) -> None:
        self.options: CertificateOptions | None = None

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Called by Twisted for each connection."""
        context = self.options.getContext() if self.options is not None else SSL.Context(SSL.TLS_METHOD)
        return SSL.Connection(context, None)


class _BoundedRequest(Request):
    """A request whose body is not taken before its length is known to be one of a review."""

    def gotLength(self, length: int | None) -> None:
        """Called by Twisted when the head is there."""
        if length is None or length > MAX_BODY:
            metrics.REVIEWS.labels("refused").inc()
            cast(Any, self.channel).transport.abortConnection()
            length = 0
        super().gotLength(length)


class _QuietSite(Site):
    """Metrics count what comes; a line for each request says no more."""

    noisy = False
    displayTracebacks = False

    def log(self, request: Any) -> None:
        """Called by Twisted for each request."""


class Webhook(Service):
    """``kept`` is asked at each review: nodes, and until when they are kept."""

    name = "health-webhook"

    def __init__(self, reactor: IReactor, listen: str, kept: Mapping[str, float]) -> None:
        self._reactor = reactor
        self._listen = cast(TCPAddress, parse_address(listen))
        self._kept = kept
        self._certificate = _Certificate()
        self._port: IListeningPort | None = None

    @property
    def address(self) -> Any:
        """Where it listens."""
        assert self._port is not None
        return self._port.getHost()

    def serve_with(self, options: CertificateOptions) -> None:
        """Show this certificate from the next connection on."""
        self._certificate.options = options

    def startService(self) -> None:
        """Listen."""
        super().startService()
        app = Klein()

        @app.route("/keep", methods=["POST"])
        def keep(request: IRequest) -> bytes:
            return self._review(request)

        site = _QuietSite(app.resource(), requestFactory=_BoundedRequest, timeout=IDLE)
        factory: Any = TLSMemoryBIOFactory(self._certificate, False, site)
        self._port = self._reactor.listenTCP(self._listen.port, factory, 1024, self._listen.host)
        _log.info("webhook listening on {address}", address=address_text(self.address))

    def _review(self, request: Any) -> bytes:
        started = perf_counter()
        request.setHeader(b"Content-Type", b"application/json")
        try:
            found, changes = answer(request.content.read(), self._kept)
        except ReviewError as problem:
            metrics.REVIEWS.labels("refused").inc()
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
