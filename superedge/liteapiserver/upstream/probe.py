"""One probe of the cloud: a new connection, ``GET /readyz``, a status."""

from __future__ import annotations

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from superedge.liteapiserver.upstream.health import Finding, ProbeResult
from superedge.liteapiserver.upstream.reading import ReadError, read
from superedge.net.errors import ConnectError, ConnectionRefused, ConnectTimeout, ResolveError, TLSError
from superedge.net.racing import first_of
from superedge.web.heads import ResponseHead
from superedge.web.pool import Pool

_log = Logger()
# A cluster may let nobody ask who has no certificate; it is an API server all the same.
_ANSWERS = frozenset({200, 401, 403})
_CAUSES = {ResolveError: "name", ConnectionRefused: "refused", ConnectTimeout: "timeout", TLSError: "tls"}
# A load balancer without servers; a captive portal that sends elsewhere.
_STRANGE = frozenset({502, 503, 504, 301, 302, 303, 307, 308, 511})


AGAIN = 0.5
"""Seconds after which a probe that has not ended is begun once more beside it, where asked for."""


async def probe(
    reactor: IReactorTime, pool: Pool, host: str, timeout: float, insists: bool = False
) -> Finding:
    """Ask ``/readyz`` over a connection of its own, within ``timeout`` seconds for everything.

    A link that has just returned answers a new connection at once, and one begun before only when the kernel
    tries again: so with ``insists`` a new one is begun every `AGAIN` seconds beside those that are silent.
    """
    count = max(1, int(timeout / AGAIN)) if insists else 1

    def begin() -> Deferred[Finding]:
        return Deferred.fromCoroutine(_ask(pool, host))

    asking = first_of(reactor, [begin] * count, AGAIN)
    try:
        return await asking.addTimeout(timeout, reactor)
    except TimeoutError:
        return Finding(ProbeResult.FAILED, "timeout", f"{host} did not answer within {timeout:g} s")


async def _ask(pool: Pool, host: str) -> Finding:
    is_page = False

    def begin(head: ResponseHead) -> None:
        nonlocal is_page
        is_page = any(
            name.lower() == b"content-type" and value.startswith(b"text/html") for name, value in head.headers
        )

    try:
        status = await read(pool, host.encode(), "/readyz", "*/*", begin)
    except (ConnectError, ReadError) as problem:
        _log.debug("probe failed: {reason}", reason=problem)
        return Finding(ProbeResult.FAILED, _cause(problem), str(problem))
    if is_page or status in _STRANGE:
        what = "with a page of HTML" if is_page else f"with status {status}"
        reason = f"{host} answers {what}, which no API server does: a load balancer or a portal"
        return Finding(ProbeResult.FAILED, "stranger", reason)
    if status in _ANSWERS:
        return Finding(ProbeResult.READY)
    return Finding(ProbeResult.ANSWERING, "not-ready", f"{host} says that it is not ready: status {status}")


def _cause(problem: ConnectError | ReadError) -> str:
    for kind, cause in _CAUSES.items():
        if isinstance(problem, kind):
            return cause
    # In TLS 1.3 the verdict on our certificate comes after the handshake.
    return "tls" if "TLS" in str(problem) else "closed" if isinstance(problem, ReadError) else "other"
