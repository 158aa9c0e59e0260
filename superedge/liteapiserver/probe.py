"""One probe of the cloud: a new connection, ``GET /readyz``, a status."""

from __future__ import annotations

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from superedge.liteapiserver.health import ProbeResult
from superedge.liteapiserver.reading import ReadError, read
from superedge.net.errors import ConnectError
from superedge.web.heads import ResponseHead
from superedge.web.pool import Pool

_log = Logger()
# A cluster may let nobody ask who has no certificate; it is an API server all the same.
_ANSWERS = frozenset({200, 401, 403})
# A load balancer without servers; a captive portal that sends elsewhere.
_STRANGE = frozenset({502, 503, 504, 301, 302, 303, 307, 308, 511})


async def probe(reactor: IReactorTime, pool: Pool, host: str, timeout: float) -> ProbeResult:
    """Ask ``/readyz`` over a connection of its own, within ``timeout`` seconds for everything."""
    is_page = False

    def begin(head: ResponseHead) -> None:
        nonlocal is_page
        is_page = any(
            name.lower() == b"content-type" and value.startswith(b"text/html") for name, value in head.headers
        )

    asking = Deferred.fromCoroutine(read(pool, host.encode(), "/readyz", "*/*", begin))
    try:
        status = await asking.addTimeout(timeout, reactor)
    except (ConnectError, ReadError, TimeoutError) as problem:
        _log.debug("probe failed: {reason}", reason=problem)
        return ProbeResult.FAILED
    if is_page or status in _STRANGE:
        return ProbeResult.FAILED
    return ProbeResult.READY if status in _ANSWERS else ProbeResult.ANSWERING
