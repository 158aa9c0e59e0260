"""Metrics and health over plain HTTP, for monitoring on a trusted network."""

from __future__ import annotations

from typing import Any, cast

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from twisted.application.service import Service
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from superedge.config.addresses import parse_address
from superedge.config.ops import OpsConfig
from superedge.interfaces import IReactor
from superedge.net.endpoints import ServerEndpoint

_log = Logger()


class _Text(Resource):
    isLeaf = True

    def __init__(self, content_type: str, render: Any) -> None:
        super().__init__()
        self._content_type = content_type
        self._render = render

    def render_GET(self, request: Request) -> bytes:
        request.setHeader("Content-Type", self._content_type)
        return cast(bytes, self._render())


class _Site(Site):
    noisy = False
    displayTracebacks = False

    def log(self, request: HTTPRequest) -> None:
        """Scrapes and probes come every few seconds: no line for each."""


class OpsServer(Service):
    """``/metrics`` in the Prometheus text format, ``/healthz`` and ``/readyz``."""

    name = "ops"

    def __init__(self, reactor: IReactor, config: OpsConfig) -> None:
        self._endpoint = ServerEndpoint(reactor, parse_address(config.listen))
        root = Resource()
        root.putChild(b"metrics", _Text(CONTENT_TYPE_LATEST, generate_latest))
        for path in (b"healthz", b"readyz"):
            root.putChild(path, _Text("text/plain", lambda: b"ok\n"))
        self._site = _Site(root)
        self._port: IListeningPort | None = None

    @property
    def address(self) -> Any:
        """Where it listens."""
        assert self._port is not None
        return self._port.getHost()

    def startService(self) -> None:
        """Listen. Raises ConnectError when the address cannot be had."""
        super().startService()
        failures: list[Failure] = []
        self._endpoint.listen(cast(Any, self._site)).addCallbacks(self._listening, failures.append)
        if failures:
            failures[0].raiseException()

    def _listening(self, port: IListeningPort) -> None:
        self._port = port
        _log.info("metrics and health on {address}", address=str(port.getHost()))

    def stopService(self) -> None:
        """Listen no more."""
        super().stopService()
        if self._port is not None:
            self._port.stopListening()
