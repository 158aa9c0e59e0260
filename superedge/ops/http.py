"""Metrics and health over plain HTTP, for monitoring on a trusted network."""

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
from superedge.net.endpoints import ServerEndpoint
from superedge.net.sockets import address_text
from superedge.reactor.loops import stalled_loops
from superedge.web.server import Request, ServerFactory
from superedge.web.silence import watch_clients

CLIENT_IDLE = 180.0
"""Seconds that a client's connection may be idle between requests: more than most scrape in."""

BUILD = Info("superedge_build", "Which SuperEdge this is")

_log = Logger()

Page = tuple[bytes, Callable[[], tuple[int, bytes]]]
"""Content-Type, and what makes status and body."""


class OpsServer(Service):
    """``/metrics`` in the Prometheus text format, ``/healthz``, ``/readyz`` and ``/superedge/status``.

    ``/readyz`` is 503 while a part that was added says that it waits for something, ``/healthz`` while a loop
    that should go on stands still.
    """

    name = "ops"

    def __init__(self, reactor: IReactor, config: OpsConfig) -> None:
        self._endpoint = ServerEndpoint(reactor, parse_address(config.listen))
        disable_created_metrics()  # a second time series for each counter, which nobody asks for
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
        self._looking = watch_clients(reactor, self._factory, CLIENT_IDLE)

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
        """Show a component on ``/superedge/status``: what ``section`` returns, under ``name``."""
        self._sections[name] = section

    def add_readiness(self, waits_for: Callable[[], str]) -> None:
        """Say on ``/readyz`` what a part waits for; an empty text when it is ready."""
        self._waiting.append(waits_for)

    def add_remark(self, remark: Callable[[], str]) -> None:
        """Show on ``/readyz`` what a part that is ready has to say; an empty text when that is nothing."""
        self._remarks.append(remark)

    def _healthy(self) -> tuple[int, bytes]:
        stalled = stalled_loops()
        return (503, "".join(f"{each}\n" for each in stalled).encode()) if stalled else (200, b"ok\n")

    def _ready(self) -> tuple[int, bytes]:
        waiting = [text for text in (each() for each in self._waiting) if text]
        remarks = [text for text in (each() for each in self._remarks) if text]
        lines = [f"waits for {each}" for each in waiting] or ["ok"]
        return 503 if waiting else 200, "".join(f"{each}\n" for each in (*lines, *remarks)).encode()

    def _status(self) -> tuple[int, bytes]:
        found = {name: section() for name, section in self._sections.items()}
        return 200, json.dumps(found, indent=1).encode()

    @property
    def address(self) -> Any:
        """Where it listens."""
        assert self._port is not None
        return self._port.getHost()

    def startService(self) -> None:
        """Listen. Raises ConnectError when the address cannot be had."""
        super().startService()
        self._listening(self._endpoint.listen_now(cast(Any, self._factory)))
        self._looking.start()

    def _listening(self, port: IListeningPort) -> None:
        self._port = port
        _log.info("metrics and health on {address}", address=address_text(port.getHost()))

    def stopService(self) -> None:
        """Listen no more."""
        super().stopService()
        self._looking.stop()
        if self._port is not None:
            self._port.stopListening()
        self._factory.close_idle()
