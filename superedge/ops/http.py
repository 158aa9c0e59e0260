"""Metrics, health and status over plain HTTP, for monitoring on a trusted network."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

from prometheus_client import CONTENT_TYPE_LATEST, Info, disable_created_metrics, generate_latest
from twisted.application.service import Service
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from superedge import __version__
from superedge.config.addresses import parse_address
from superedge.config.ops import OpsConfig
from superedge.interfaces import IReactor
from superedge.net.descriptors import KEPT_BY_MONITORING
from superedge.net.endpoints import ServerEndpoint
from superedge.net.sockets import address_text
from superedge.reactor.loops import stalled_loops
from superedge.web.idle import idle_client_check
from superedge.web.server import ServerFactory
from superedge.web.serverrequest import Request

CLIENT_IDLE = 180.0
"""Seconds that a connection may be idle: more than most scrape intervals."""

BUILD = Info("superedge_build", "The version of SuperEdge")

_log = Logger()

Page = tuple[bytes, Callable[[], tuple[int, bytes]]]
"""(Content-Type, function that returns status and body)."""


class OpsServer(Service):
    """``/metrics`` in the Prometheus text format, ``/healthz``, ``/readyz`` and ``/superedge/status``.

    ``/readyz`` responds with 503 while a component waits for something, ``/healthz`` while a periodic loop
    does not progress.
    """

    name = "ops"

    def __init__(self, reactor: IReactor, config: OpsConfig) -> None:
        self._endpoint = ServerEndpoint(reactor, parse_address(config.listen), kept=KEPT_BY_MONITORING)
        disable_created_metrics()  # they would double the number of time series
        BUILD.info({"version": __version__})
        healthy: Page = (b"text/plain", self._healthy)
        self._pages: dict[bytes, Page] = {
            b"/metrics": (CONTENT_TYPE_LATEST.encode(), lambda: (200, generate_latest())),
            b"/healthz": healthy,
            b"/readyz": (b"text/plain", self._ready),
            b"/superedge/healthz": healthy,
            b"/superedge/status": (b"application/json", self._status),
        }
        self._sections: dict[str, Callable[[], dict[str, Any]]] = {}
        self._waiting: list[Callable[[], str]] = []
        self._remarks: list[Callable[[], str]] = []
        self._factory = ServerFactory(self._answer)
        self._port: IListeningPort | None = None
        self._looking = idle_client_check(reactor, self._factory, CLIENT_IDLE)

    def _answer(self, request: Request) -> None:
        page = self._pages.get(request.head.target.partition(b"?")[0])
        if page is None:
            request.respond(404, [(b"Content-Type", b"text/plain")], b"not found\n")
        elif request.head.method not in (b"GET", b"HEAD"):
            request.respond(405, [(b"Allow", b"GET, HEAD")])
        else:
            content_type, render = page
            status, body = render()
            request.respond(status, [(b"Content-Type", content_type)], body)

    def add_status(self, name: str, section: Callable[[], dict[str, Any]]) -> None:
        """Show the result of ``section`` on ``/superedge/status`` under ``name``."""
        self._sections[name] = section

    def add_readiness(self, waits_for: Callable[[], str]) -> None:
        """Add a readiness check to ``/readyz``: it returns what a component waits for, or ''."""
        self._waiting.append(waits_for)

    def add_remark(self, remark: Callable[[], str]) -> None:
        """Add a line to ``/readyz`` that does not change its status: ``remark`` returns the text, or ''."""
        self._remarks.append(remark)

    def _healthy(self) -> tuple[int, bytes]:
        stalled = stalled_loops()
        return (503, "".join(f"{each}\n" for each in stalled).encode()) if stalled else (200, b"ok\n")

    def _ready(self) -> tuple[int, bytes]:
        waiting = [text for text in (each() for each in self._waiting) if text]
        remarks = [text for text in (each() for each in self._remarks) if text]
        lines = [f"waiting for {each}" for each in waiting] or ["ok"]
        return 503 if waiting else 200, "".join(f"{each}\n" for each in (*lines, *remarks)).encode()

    def _status(self) -> tuple[int, bytes]:
        found = {name: section() for name, section in self._sections.items()}
        return 200, json.dumps(found, indent=1).encode()

    @property
    def address(self) -> Any:
        assert self._port is not None
        return self._port.getHost()

    def startService(self) -> None:
        """Listen. Raises ConnectError when the address is not available."""
        super().startService()
        self._listening(self._endpoint.listen_now(cast(Any, self._factory)))
        self._looking.start()

    def _listening(self, port: IListeningPort) -> None:
        self._port = port
        _log.info("metrics and health on {address}", address=address_text(port.getHost()))

    def stopService(self) -> None:
        super().stopService()
        self._looking.stop()
        if self._port is not None:
            self._port.stopListening()
        self._factory.close_idle()
