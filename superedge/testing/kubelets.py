"""Subresources that a kubelet serves: pod logs, exec, attach and port-forward, node proxy.

The request is sent to the node's kubelet with a translated path. After that, bytes are forwarded in both
directions unchanged, in any protocol.
"""

from __future__ import annotations

from typing import Any, NoReturn
from urllib.parse import quote, urlencode

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure
from twisted.web.http import Request

from superedge.net.errors import ConnectError
from superedge.net.splice import splice
from superedge.testing import status as errors
from superedge.testing.egress import Connector
from superedge.testing.operations import Operations
from superedge.testing.resources import Resource
from superedge.testing.storage import Key, Object
from superedge.testing.takeover import take_over

KUBELET_PORT = 10250
_PATHS = {"log": "containerLogs", "exec": "exec", "attach": "attach", "portforward": "portForward"}
_STREAMS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
_OWN_HEADERS = frozenset({b"authorization", b"content-length", b"transfer-encoding", b"expect", b"host"})


class _Paused(Protocol):
    """The protocol of a connection before it is spliced."""

    transport: Any

    def connectionMade(self) -> None:
        self.transport.pauseProducing()


class _PausedFactory(Factory):
    protocol = _Paused
    noisy = False


def _container(pod: Object, asked: str) -> str:
    names = [container["name"] for container in pod["spec"]["containers"]]
    if asked and asked not in names:
        raise errors.bad_request(f"container {asked} is not valid for pod {pod['metadata']['name']}")
    if not asked and len(names) > 1:
        raise errors.bad_request(
            f"a container name must be specified for pod {pod['metadata']['name']}, "
            f"choose one of: [{' '.join(names)}]"
        )
    return asked or str(names[0])


def pod_target(pod: Object, subresource: str, query: list[tuple[str, str]]) -> str:
    """The kubelet's path and query for a pod's subresource. Raises APIError 400."""
    metadata = pod["metadata"]
    parts = [_PATHS[subresource], metadata["namespace"], metadata["name"]]
    if subresource != "portforward":
        parts.append(_container(pod, dict(query).get("container", "")))
    passed = []
    for name, value in query:
        if name in _STREAMS and subresource != "log":
            if value in ("1", "true"):
                passed.append((_STREAMS[name], "1"))
        elif name != "container":
            passed.append((name, value))
    return "/" + "/".join(map(quote, parts)) + (f"?{urlencode(passed)}" if passed else "")


def request_head(request: Request, target: str, host: str, size: int) -> bytes:
    """The head of the request to the kubelet, without the client's credentials."""
    lines = [b"%s %s HTTP/1.1" % (request.method, target.encode()), b"Host: " + host.encode()]
    upgrade = request.requestHeaders.hasHeader("upgrade")
    for name, values in request.requestHeaders.getAllRawHeaders():
        low = name.lower()
        if low in _OWN_HEADERS or low.startswith(b"impersonate-") or (low == b"connection" and not upgrade):
            continue
        lines += [name + b": " + value for value in values]
    if not upgrade:
        # The connection is for this request only, and may end the response.
        lines.append(b"Connection: close")
    if size:
        lines.append(b"Content-Length: %d" % size)
    return b"\r\n".join(lines) + b"\r\n\r\n"


class KubeletProxy:
    """Serves the subresources; ``connector`` connects to the nodes."""

    def __init__(self, operations: Operations, connector: Connector) -> None:
        self._operations = operations
        self._connector = connector

    async def __call__(
        self, request: Request, item: Object, resource: Resource, subresource: str, further: str
    ) -> NoReturn:
        """Splice the client's connection to the kubelet's. Never returns.

        Raises APIError when the kubelet cannot be reached.
        """
        if resource.plural == "nodes":
            node = item["metadata"]["name"]
            raw = request.uri.partition(b"?")[2].decode("latin-1")
            target = "/" + quote(further) + (f"?{raw}" if raw else "")
        else:
            node = item["spec"].get("nodeName") or ""
            if not node:
                raise errors.bad_request(f"pod {item['metadata']['name']} does not have a host assigned")
            query = [
                (name.decode(), value.decode()) for name, values in request.args.items() for value in values
            ]
            target = pod_target(item, subresource, query)
        port = self._port(node)
        body = request.content.read() if request.content else b""
        try:
            kubelet: Any = await self._connector(node, port).connect(_PausedFactory())
        except ConnectError as problem:
            raise errors.internal(f"error dialing backend: {problem}") from problem
        transport, http = take_over(request)
        kubelet.transport.write(request_head(request, target, f"{node}:{port}", len(body)) + body)
        ended = splice(transport, kubelet.transport)
        ended.addCallback(lambda _: http.connectionLost(Failure(ConnectionDone())))
        # The end of the request cancels this call, so nothing more is written to the request.
        await Deferred()
        raise AssertionError

    def _port(self, node: str) -> int:
        found = self._operations.registry.find("", "v1", "nodes")
        assert found is not None
        status = self._operations.read(found, Key("", node)).object.get("status", {})
        endpoint = status.get("daemonEndpoints", {}).get("kubeletEndpoint", {})
        return int(endpoint.get("Port", KUBELET_PORT))
