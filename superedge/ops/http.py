"""Metrics and health over plain HTTP, for monitoring on a trusted network."""

from __future__ import annotations

import json
from collections.abc import Callable
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
    """``/metrics`` in the Prometheus text format, ``/healthz``, ``/readyz`` and ``/superedge/status``."""

    name = "ops"

    def __init__(self, reactor: IReactor, config: OpsConfig) -> None:
        self._endpoint = ServerEndpoint(reactor, parse_address(config.listen))
        root = Resource()
        root.putChild(b"metrics", _Text(CONTENT_TYPE_LATEST, generate_latest))
        healthy = _Text("text/plain", lambda: b"ok\n")
        for path in (b"healthz", b"readyz"):
            root.putChild(path, healthy)
        superedge = Resource()
        superedge.putChild(b"healthz", healthy)
        superedge.putChild(b"status", _Text("application/json", self._status))
        root.putChild(b"superedge", superedge)
        self._sections: dict[str, Callable[[], dict[str, Any]]] = {}
        self._site = _Site(root)
        self._port: IListeningPort | None = None

    def add_status(self, name: str, section: Callable[[], dict[str, Any]]) -> None:
        """Show a component on ``/superedge/status``: what ``section`` returns, under ``name``."""
        self._sections[name] = section

    def _status(self) -> bytes:
        return json.dumps({name: section() for name, section in self._sections.items()}, indent=1).encode()

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
