"""``python -m bench.watchserver PORT CERTIFICATE KEY``: an API server that knows nothing but watches.

``GET /emit?count=N`` sends N events to every open watch, with ``&rate=M`` M of them a second; ``/readyz`` is
ok; any other GET is a watch when it says ``watch=true``, else an empty list.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from superedge.config.addresses import TCPAddress
from superedge.interfaces import IReactor
from superedge.net.endpoints import ServerEndpoint
from superedge.tls.contexts import ServerContextSource
from superedge.web.heads import Headers
from superedge.web.server import ServerFactory
from superedge.web.serverrequest import Request

JSON: Headers = [(b"Content-Type", b"application/json"), (b"Audit-Id", b"1")]
BOOKMARK = (
    b'{"type":"BOOKMARK","object":{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"1000"}}}\n'
)
# One tilde in each, for who counts: a byte is never cut in two.
EVENT = (
    b'{"type":"MODIFIED","object":{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web-%d",'
    b'"namespace":"default","resourceVersion":"%d","labels":{"app":"web"}},"spec":{"end":"~",'
    b'"padding":"' + b"x" * 700 + b'"}}}\n'
)
A_ROUND = 20
"""Events that are written before anything else gets its turn."""
OBJECTS = 1000
"""Pods that the events are about, by turns."""


class WatchServer:
    """All open watches."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._watches: set[Request] = set()
        self._version = 1000

    def handle(self, request: Request) -> None:
        """Answer one request."""
        path, _, query = request.head.target.partition(b"?")
        if path == b"/emit":
            asked = {key: int(values[0]) for key, values in parse_qs(query.decode()).items()}
            pause = A_ROUND / asked["rate"] if "rate" in asked else 0.0
            self._emit(request, asked["count"], pause)
        elif b"watch=true" in query:
            request.start(200, b"OK", list(JSON), False)
            request.write([BOOKMARK])  # nginx sends no head over HTTP/2 before there is a body
            request.flush()
            self._watches.add(request)
        elif path == b"/readyz":
            request.respond(200, [], b"ok")
        else:
            body = b'{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"1000"},"items":[]}'
            request.respond(200, list(JSON), body)

    def _emit(self, request: Request, left: int, pause: float) -> None:
        begun = self._reactor.seconds()
        for _ in range(min(left, A_ROUND)):
            self._version += 1
            event = EVENT % (self._version % OBJECTS, self._version)
            for watch in [each for each in self._watches if each.finished]:
                self._watches.discard(watch)
            for watch in self._watches:
                watch.write([event])
                watch.flush()
        if left > A_ROUND:
            wait = max(0.0, begun + pause - self._reactor.seconds())
            self._reactor.callLater(wait, self._emit, request, left - A_ROUND, pause)
        else:
            request.respond(200, [], b"done")


def main(reactor: Any, port: str, certificate: str, key: str) -> Any:
    """Serve until killed."""
    server = WatchServer(reactor)
    tls = ServerContextSource(Path(certificate), Path(key))
    endpoint = ServerEndpoint(cast(IReactor, reactor), TCPAddress("127.0.0.1", int(port)), tls)
    factory = cast(Any, ServerFactory(server.handle))
    return endpoint.listen(factory).addCallback(lambda _: Deferred())


if __name__ == "__main__":
    react(main, sys.argv[1:])
