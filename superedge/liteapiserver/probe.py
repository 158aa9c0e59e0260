"""One probe of the cloud: a new connection, ``GET /readyz``, a status."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from superedge.liteapiserver.health import ProbeResult
from superedge.net.errors import ConnectError
from superedge.web.client import Pool, UpstreamConnection
from superedge.web.h1 import Headers, ResponseHead, request_head

_log = Logger()
# A cluster may let nobody ask who has no certificate; it is an API server all the same.
_ANSWERS = frozenset({200, 401, 403})
# A load balancer without servers; a captive portal that sends elsewhere.
_STRANGE = frozenset({502, 503, 504, 301, 302, 303, 307, 308, 511})


class _Receiver:
    """Waits for the status and the end of the response."""

    def __init__(self) -> None:
        self.done: Deferred[ProbeResult] = Deferred()
        self._status = 0
        self._is_page = False

    def response(self, head: ResponseHead) -> None:
        self._status = head.status
        self._is_page = any(
            name.lower() == b"content-type" and value.startswith(b"text/html") for name, value in head.headers
        )

    def data(self, pieces: list[bytes]) -> None:
        pass

    def complete(self, trailers: Headers) -> None:
        if self._is_page or self._status in _STRANGE:
            self._finish(ProbeResult.FAILED)
        else:
            self._finish(ProbeResult.READY if self._status in _ANSWERS else ProbeResult.ANSWERING)

    def round_done(self) -> None:
        pass

    def switched(self, connection: UpstreamConnection, rest: bytes) -> None:
        connection.abandon()
        self._finish(ProbeResult.FAILED)

    def failed(self, reason: str) -> None:
        _log.debug("probe failed: {reason}", reason=reason)
        self._finish(ProbeResult.FAILED)

    def _finish(self, result: ProbeResult) -> None:
        if not self.done.called:
            self.done.callback(result)


async def probe(reactor: IReactorTime, pool: Pool, host: str, timeout: float) -> ProbeResult:
    """Ask ``/readyz`` over a connection of its own, within ``timeout`` seconds for everything."""
    attempt = Deferred.fromCoroutine(_ask(pool, host)).addTimeout(timeout, reactor)
    try:
        return await attempt
    except (ConnectError, TimeoutError) as problem:
        _log.debug("probe failed: {reason}", reason=problem)
        return ProbeResult.FAILED


async def _ask(pool: Pool, host: str) -> ProbeResult:
    connection = await pool.connect()
    receiver = _Receiver()
    headers = [(b"Host", host.encode()), (b"Accept", b"*/*"), (b"User-Agent", b"superedge-lite-apiserver")]
    connection.request(request_head(b"GET", b"/readyz", headers), False, True, receiver)
    try:
        return await receiver.done
    except CancelledError:
        connection.abandon()
        raise
