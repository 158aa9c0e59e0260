"""A simulated kubelet: the parts of the kubelet's HTTPS API that need no containers.

Source: Kubernetes pkg/kubelet/server, endpoints ``/healthz``, ``/pods``, ``/containerLogs`` and ``/exec``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import LoopingCall
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from superedge.config.addresses import TCPAddress
from superedge.interfaces import IReactor
from superedge.net.endpoints import ServerEndpoint
from superedge.testing.remotecommand import PROTOCOLS, EchoCommand
from superedge.testing.takeover import take_over
from superedge.testing.websocket import accept_key
from superedge.tls.contexts import ServerContextSource
from superedge.tls.identity import Identity

PodSource = Callable[[], list[dict[str, Any]]]


class _Healthz(Resource):
    isLeaf = True

    def render_GET(self, request: Request) -> bytes:
        return b"ok"


class _Pods(Resource):
    isLeaf = True

    def __init__(self, pods: PodSource) -> None:
        super().__init__()
        self._pods = pods

    def render_GET(self, request: Request) -> bytes:
        request.setHeader("Content-Type", "application/json")
        body = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self._pods()}
        return json.dumps(body).encode()


class _Container(Resource):
    """Serves ``.../NAMESPACE/POD/CONTAINER`` for the containers of ``pods``."""

    isLeaf = True

    def __init__(self, pods: PodSource) -> None:
        super().__init__()
        self._pods = pods

    def pod(self, request: Request) -> str:
        """The name of the request's pod. Raises LookupError with the client's error message."""
        parts = [part.decode() for part in cast(Any, request).postpath]
        if len(parts) != 3:
            raise LookupError("the path ends with NAMESPACE/POD/CONTAINER")
        namespace, name, container = parts
        for pod in self._pods():
            if (pod["metadata"]["namespace"], pod["metadata"]["name"]) == (namespace, name):
                if container in [each["name"] for each in pod["spec"]["containers"]]:
                    return str(name)
                raise LookupError(f'container "{container}" not found in pod "{name}"')
        raise LookupError(f'pod "{name}" not found in namespace "{namespace}"')


def _refuse(request: Request, code: int, sentence: str) -> bytes:
    request.setResponseCode(code)
    request.setHeader("Content-Type", "text/plain; charset=utf-8")
    return sentence.encode() + b"\n"


class _Unknown(Resource):
    isLeaf = True

    def render(self, request: Request) -> bytes:
        return _refuse(request, 404, "404 page not found")


class _Root(Resource):
    def getChild(self, path: bytes, request: Request) -> Resource:
        return _Unknown()


class _Logs(_Container):
    """Sends a line with the names of pod and node; with ``follow=true`` another every second."""

    def __init__(self, reactor: IReactor, node: str, pods: PodSource) -> None:
        super().__init__(pods)
        self._reactor = reactor
        self._node = node

    def render_GET(self, request: Request) -> bytes | int:
        try:
            line = f"hello from {self.pod(request)} on {self._node}\n".encode()
        except LookupError as problem:
            return _refuse(request, 404, str(problem))
        request.setHeader("Content-Type", "text/plain")
        if b"true" not in cast(Any, request).args.get(b"follow", []):
            return line
        ticking = LoopingCall(request.write, line)
        ticking.clock = self._reactor
        ticking.start(1.0)
        request.notifyFinish().addErrback(lambda _: ticking.stop())
        return NOT_DONE_YET


class _Exec(_Container):
    """``?command=...&input=1`` over a WebSocket, see `superedge.testing.remotecommand`."""

    def render_GET(self, request: Request) -> bytes | int:
        try:
            self.pod(request)
        except LookupError as problem:
            return _refuse(request, 404, str(problem))
        key = (request.getHeader("sec-websocket-key") or "").encode()
        if (request.getHeader("upgrade") or "").lower() != "websocket" or not key:
            return _refuse(request, 400, "exec is served over WebSocket alone")
        offered = [name.strip() for name in (request.getHeader("sec-websocket-protocol") or "").split(",")]
        chosen = next((name for name in PROTOCOLS if name in offered), None)
        if chosen is None:
            return _refuse(request, 400, f"exec speaks {' and '.join(PROTOCOLS)}, not {', '.join(offered)}")
        arguments = cast(Any, request).args
        command = [part.decode() for part in arguments.get(b"command", [])]
        stdin = arguments.get(b"input", [b""])[0] in (b"1", b"true")
        transport, http = take_over(request)
        transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n"
            % (accept_key(key), chosen.encode())
        )
        transport.protocol = EchoCommand(command, stdin, http)
        transport.protocol.makeConnection(transport)
        return NOT_DONE_YET

    render_POST = render_GET


class KubeletStandIn(Service):
    """Serves one node's kubelet API; clients need a certificate from ``client_ca``.

    ``pods`` returns the objects of the pods on the node.
    """

    def __init__(
        self,
        reactor: IReactor,
        node: str,
        identity: Identity,
        client_ca: Path,
        pods: PodSource = list,
        port: int = 0,
    ) -> None:
        tls = ServerContextSource(identity.certificate, identity.key, [client_ca], "required")
        self._endpoint = ServerEndpoint(reactor, TCPAddress("127.0.0.1", port), tls)
        root = _Root()
        root.putChild(b"healthz", _Healthz())
        root.putChild(b"pods", _Pods(pods))
        root.putChild(b"containerLogs", _Logs(reactor, node, pods))
        root.putChild(b"exec", _Exec(pods))
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
        self._started(self._endpoint.listen_now(cast(Any, self._site)))

    def _started(self, port: IListeningPort) -> None:
        self._listening = port

    def stopService(self) -> None:
        """Stop listening."""
        super().stopService()
        if self._listening is not None:
            self._listening.stopListening()
