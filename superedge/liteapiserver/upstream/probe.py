"""Probes the cloud once: ``GET /readyz`` over a new connection."""

from __future__ import annotations

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from superedge.liteapiserver.upstream.fetch import FetchError, fetch
from superedge.liteapiserver.upstream.health import ProbeReport, ProbeResult
from superedge.net.errors import ConnectError, ConnectionRefused, ConnectTimeout, ResolveError, TLSError
from superedge.net.racing import first_of
from superedge.web.heads import ResponseHead
from superedge.web.pool import Pool

_log = Logger()
# A cluster may refuse anonymous requests; the answer still comes from a ready API server.
_ANSWERS = frozenset({200, 401, 403})
_CAUSES = {ResolveError: "name", ConnectionRefused: "refused", ConnectTimeout: "timeout", TLSError: "tls"}
# Statuses of a load balancer without servers, and redirects of a captive portal.
_NOT_API_SERVER = frozenset({502, 503, 504, 301, 302, 303, 307, 308, 511})


RETRY_INTERVAL = 0.5
"""Seconds after which ``retry`` starts another attempt beside those without a response."""


async def probe(
    reactor: IReactorTime, pool: Pool, host: str, servers: str, timeout: float, retry: bool = False
) -> ProbeReport:
    """Ask ``/readyz`` over a new connection, within ``timeout`` seconds for everything.

    ``host`` is for the Host header, and ``servers``, the addresses that are dialled, for the report.

    With ``retry`` another attempt starts every `RETRY_INTERVAL` seconds: when a link has just returned, a new
    connection succeeds at once, and an older one only when the kernel retransmits.
    """
    count = max(1, int(timeout / RETRY_INTERVAL)) if retry else 1

    def begin() -> Deferred[ProbeReport]:
        return Deferred.fromCoroutine(_ask(pool, host, servers))

    asking = first_of(reactor, [begin] * count, RETRY_INTERVAL)
    try:
        return await asking.addTimeout(timeout, reactor)
    except TimeoutError:
        return ProbeReport(ProbeResult.FAILED, "timeout", f"{servers} did not answer within {timeout:g} s")


async def _ask(pool: Pool, host: str, servers: str) -> ProbeReport:
    is_page = False

    def begin(head: ResponseHead) -> None:
        nonlocal is_page
        is_page = any(
            name.lower() == b"content-type" and value.startswith(b"text/html") for name, value in head.headers
        )

    try:
        status = await fetch(pool, host.encode(), "/readyz", "*/*", begin)
    except (ConnectError, FetchError) as problem:
        _log.debug("probe failed: {reason}", reason=problem)
        return ProbeReport(ProbeResult.FAILED, _cause(problem), str(problem))
    if is_page or status in _NOT_API_SERVER:
        what = "an HTML page" if is_page else f"status {status}"
        reason = f"{servers} answers with {what}, which no API server does: a load balancer or a portal"
        return ProbeReport(ProbeResult.FAILED, "not-api-server", reason)
    if status in _ANSWERS:
        return ProbeReport(ProbeResult.READY)
    return ProbeReport(ProbeResult.ANSWERING, "not-ready", f"{servers} is not ready: status {status}")


def _cause(problem: ConnectError | FetchError) -> str:
    for kind, cause in _CAUSES.items():
        if isinstance(problem, kind):
            return cause
    # In TLS 1.3 the server rejects a client certificate after the handshake.
    return "tls" if "TLS" in str(problem) else "closed" if isinstance(problem, FetchError) else "other"
