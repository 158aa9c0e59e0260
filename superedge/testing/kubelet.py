"""A kubelet stand-in: the parts of the kubelet's HTTPS interface that need no containers.

Source: Kubernetes pkg/kubelet/server, endpoints ``/healthz``, ``/pods`` and ``/containerLogs``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from twisted.web.resource import NoResource, Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from superedge.config.addresses import TCPAddress
from superedge.interfaces import IReactor
from superedge.net.endpoints import ServerEndpoint
from superedge.tls.contexts import ServerContextSource
from superedge.tls.identity import Identity


class _Healthz(Resource):
    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        return b"ok"


class _Pods(Resource):
    isLeaf = True

    def __init__(self, node: str) -> None:
        super().__init__()
        self._node = node

    def render_GET(self, request: Request) -> bytes:
        request.setHeader("Content-Type", "application/json")
        body = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [], "node": self._node}
        return json.dumps(body).encode()


class _Logs(Resource):
    """``/containerLogs/NAMESPACE/POD/CONTAINER?follow=true``: numbered lines, one a second."""

    isLeaf = True

    def __init__(self, reactor: IReactor, node: str) -> None:
        super().__init__()
        self._reactor = reactor
        self._node = node

    def render_GET(self, request: Request) -> bytes | int:
        parts = [part.decode() for part in cast(Any, request).postpath]
        if len(parts) != 3:
            return cast(bytes, NoResource().render(request))
        request.setHeader("Content-Type", "text/plain")
        line = f"hello from {parts[1]} on {self._node}\n".encode()
        if b"true" not in cast(Any, request).args.get(b"follow", []):
            return line
        ticking = LoopingCall(request.write, line)
        ticking.clock = self._reactor
        ticking.start(1.0)
        request.notifyFinish().addErrback(lambda _: ticking.stop())
        return NOT_DONE_YET


class KubeletStandIn(Service):
    """Serves one node's kubelet paths; clients need a certificate of ``client_ca``."""

    def __init__(
        self, reactor: IReactor, node: str, identity: Identity, client_ca: Path, port: int = 0
    ) -> None:
        tls = ServerContextSource(identity.certificate, identity.key, [client_ca], "required")
        self._endpoint = ServerEndpoint(reactor, TCPAddress("127.0.0.1", port), tls)
        root = Resource()
        root.putChild(b"healthz", _Healthz())
        root.putChild(b"pods", _Pods(node))
        root.putChild(b"containerLogs", _Logs(reactor, node))
        self._site = Site(root)
        self._site.noisy = False
        self._listening: IListeningPort | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._listening is not None
        return cast(int, cast(Any, self._listening.getHost()).port)

    def startService(self) -> None:
        """Listen on loopback. Raises ConnectError."""
        super().startService()
        failures: list[Failure] = []
        self._endpoint.listen(cast(Any, self._site)).addCallbacks(self._started, failures.append)
        if failures:
            failures[0].raiseException()

    def _started(self, port: IListeningPort) -> None:
        self._listening = port

    def stopService(self) -> None:
        """Listen no more."""
        super().stopService()
        if self._listening is not None:
            self._listening.stopListening()
