from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.http_headers import Headers
from twisted.web.test.requesthelper import DummyRequest

from superedge.config.addresses import TCPAddress, UnixAddress
from superedge.net.endpoints import ClientEndpoint, ServerEndpoint
from superedge.net.errors import ConnectError, ConnectionRefused, TLSError
from superedge.net.splice import splice
from superedge.testing.egress import direct, through
from superedge.testing.kubelet import KubeletStandIn
from superedge.testing.kubelets import pod_target, request_head
from superedge.testing.status import APIError
from superedge.tls.authority import Authority
from superedge.tls.contexts import ClientContextSource

reactor: Any = installed


def pod(*containers: str) -> dict[str, Any]:
    listed = [{"name": name} for name in containers]
    return {"metadata": {"namespace": "n", "name": "p"}, "spec": {"containers": listed}}


class PodTargetTests(SynchronousTestCase):
    """What the kubelet is asked for."""

    def test_logs(self) -> None:
        query = [("container", "b"), ("follow", "true"), ("tailLines", "5")]
        target = pod_target(pod("a", "b"), "log", query)
        self.assertEqual(target, "/containerLogs/n/p/b?follow=true&tailLines=5")
        self.assertEqual(pod_target(pod("a"), "log", []), "/containerLogs/n/p/a")

    def test_exec(self) -> None:
        query = [
            ("command", "echo"),
            ("command", "a b&c"),
            ("stdin", "true"),
            ("tty", "false"),
            ("stdout", "1"),
        ]
        target = pod_target(pod("a"), "exec", query)
        self.assertEqual(target, "/exec/n/p/a?command=echo&command=a+b%26c&input=1&output=1")

    def test_port_forward_is_of_the_pod(self) -> None:
        self.assertEqual(
            pod_target(pod("a", "b"), "portforward", [("ports", "80")]), "/portForward/n/p?ports=80"
        )

    def test_container_unclear(self) -> None:
        for containers, asked in ((("a", "b"), []), (("a",), [("container", "x")])):
            problem = self.assertRaises(APIError, pod_target, pod(*containers), "log", asked)
            self.assertEqual(problem.code, 400)


class RequestHeadTests(SynchronousTestCase):
    def head(self, **headers: str) -> list[bytes]:
        request: Any = DummyRequest([b"x"])
        request.requestHeaders = Headers({name.replace("_", "-"): [value] for name, value in headers.items()})
        raw = request_head(request, "/exec", "edge-1:10250", 0)
        self.assertTrue(raw.endswith(b"\r\n\r\n"))
        return sorted(raw[:-4].split(b"\r\n"))

    def test_credentials_stay(self) -> None:
        head = self.head(
            Authorization="Bearer x", Impersonate_User="jane", Accept="*/*", Connection="keep-alive"
        )
        self.assertEqual(
            head, [b"Accept: */*", b"Connection: close", b"GET /exec HTTP/1.1", b"Host: edge-1:10250"]
        )

    def test_upgrade_goes_along(self) -> None:
        head = self.head(Upgrade="websocket", Connection="Upgrade", Sec_WebSocket_Key="abc")
        self.assertIn(b"Connection: Upgrade", head)
        self.assertIn(b"Upgrade: websocket", head)
        self.assertNotIn(b"Connection: close", head)


class Collect(Protocol):
    """Sends ``request`` and gives everything that comes back."""

    def __init__(self, request: bytes = b"") -> None:
        self._request = request
        self._got: list[bytes] = []
        self.done: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        self._got.append(data)

    def connectionLost(self, reason: Any = None) -> None:
        self.done.callback(b"".join(self._got))


class Proxy(Protocol):
    """Answers CONNECT with the factory's answer and leads to its way, if it has one."""

    def __init__(self, factory: ProxyFactory) -> None:
        self._factory = factory
        self.gone: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        transport: Any = self.transport
        self._factory.asked.append(data)
        if self._factory.way is None:
            transport.write(self._factory.answer)
            transport.loseConnection()
        else:
            transport.pauseProducing()
            self._factory.way.connect(Factory.forProtocol(Protocol)).addCallback(self._joined)

    def _joined(self, kubelet: Any) -> None:
        kubelet.transport.pauseProducing()
        transport: Any = self.transport
        transport.write(self._factory.answer)
        splice(transport, kubelet.transport).addCallback(self.gone.callback)

    def connectionLost(self, reason: Any = None) -> None:
        self.gone.callback(None)


class ProxyFactory(Factory):
    noisy = False

    def __init__(self, answer: bytes, way: IStreamClientEndpoint | None = None) -> None:
        self.answer, self.way = answer, way
        self.asked: list[bytes] = []
        self._proxies: list[Proxy] = []

    def buildProtocol(self, addr: object) -> Protocol:
        self._proxies.append(Proxy(self))
        return self._proxies[-1]

    def gone(self) -> Deferred[Any]:
        """Fires when nobody is connected any more."""
        return gatherResults([proxy.gone for proxy in self._proxies])


class ConnectorTests(TestCase):
    """The ways to a kubelet, with real sockets."""

    def setUp(self) -> None:
        directory = Path(self.mktemp())
        authority = Authority.create(directory)
        node = authority.issue("system:node:edge-1", dns=["edge-1"], directory=directory, name="node")
        client = authority.issue("kube-apiserver-kubelet-client", directory=directory, name="client")
        self.kubelet = KubeletStandIn(reactor, "edge-1", node, authority.path)
        self.kubelet.startService()
        self.addCleanup(self.kubelet.stopService)
        self.tls = ClientContextSource([authority.path], client.certificate, client.key)
        # A socket's path has to be short.
        self.address = UnixAddress(f"/tmp/superedge-egress-{id(self)}.sock")

    async def listen(self, factory: ProxyFactory) -> None:
        port = await ServerEndpoint(reactor, self.address).listen(factory)
        self.addCleanup(maybeDeferred, port.stopListening)
        self.addCleanup(factory.gone)

    async def healthz(self, endpoint: IStreamClientEndpoint) -> bytes:
        protocol = Collect(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await endpoint.connect(_Single(protocol))
        return (await protocol.done).rpartition(b"\r\n\r\n")[2]

    async def refused(self, node: str = "edge-1") -> Exception:
        endpoint = through(reactor, self.address, self.tls)(node, self.kubelet.port)
        try:
            await endpoint.connect(_Single(Collect()))
        except ConnectError as problem:
            return problem
        raise AssertionError("there is a way")

    async def test_direct(self) -> None:
        self.assertEqual(await self.healthz(direct(reactor, self.tls)("edge-1", self.kubelet.port)), b"ok")

    async def test_through_a_proxy(self) -> None:
        port = self.kubelet.port
        factory = ProxyFactory(b"HTTP/1.1 200 OK\r\n\r\n", _plain_way(port))
        await self.listen(factory)
        self.assertEqual(await self.healthz(through(reactor, self.address, self.tls)("edge-1", port)), b"ok")
        self.assertEqual(
            factory.asked, [f"CONNECT edge-1:{port} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()]
        )

    async def test_another_node_behind_the_proxy(self) -> None:
        await self.listen(ProxyFactory(b"HTTP/1.1 200 OK\r\n\r\n", _plain_way(self.kubelet.port)))
        self.assertIsInstance(await self.refused("edge-2"), TLSError)

    async def test_refused_by_the_proxy(self) -> None:
        await self.listen(ProxyFactory(b"HTTP/1.1 404 no connected node\r\n\r\n"))
        self.assertIn("answered 404 no connected node", str(await self.refused()))

    async def test_proxy_closes(self) -> None:
        await self.listen(ProxyFactory(b""))
        self.assertIn("closed without an answer", str(await self.refused()))

    async def test_no_proxy(self) -> None:
        self.assertIsInstance(await self.refused(), ConnectionRefused)


class _Single(Factory):
    """Gives one protocol."""

    noisy = False

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: object) -> Protocol:
        return self._protocol


def _plain_way(port: int) -> IStreamClientEndpoint:
    """TCP to the kubelet: TLS is between the two ends of the tunnel."""
    return ClientEndpoint(reactor, TCPAddress("127.0.0.1", port))
