"""The http and https listeners, a node, and targets that speak HTTP, over real loopback TLS."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol

from superedge.config.addresses import TCPAddress
from superedge.config.listeners import HTTPListenerConfig, HTTPSListenerConfig
from superedge.config.tunnel import TargetTLSConfig
from superedge.net.endpoints import ClientEndpoint, ServerEndpoint
from superedge.tls.contexts import ClientContextSource, ServerContextSource
from superedge.tunnel.errors import DialError
from superedge.tunnel.listeners.http import HTTPListener, HTTPSListener
from superedge.web.heads import Headers
from superedge.web.server import ServerFactory
from superedge.web.serverrequest import Request
from tests.tunnel.case import Talker, TunnelCase, reactor


class Echo:
    """Answers with the caller's name, the path and the body's length."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.size = 0

    def body(self, data: bytes) -> None:
        self.size += len(data)

    def body_end(self, trailers: Headers) -> None:
        name = self.request.transport.peer_common_name
        path = self.request.head.target.decode()
        self.request.respond(200, [], f"{name} {path} {self.size}".encode())

    def client_lost(self) -> None:
        pass


class Reverser(Protocol):
    def dataReceived(self, data: bytes) -> None:
        cast(Any, self.transport).write(data[::-1])


def serve(request: Request) -> None:
    if request.head.upgrade:
        early = request.hijack(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: reverse\r\n\r\n")
        protocol = Reverser()
        request.transport.protocol = protocol
        protocol.makeConnection(request.transport)
        if early:
            protocol.dataReceived(early)
    else:
        request.receive(Echo(request))


class HTTPTests(TunnelCase):
    async def target_server(self, tls: ServerContextSource | None) -> str:
        factory = ServerFactory(serve)
        port = await ServerEndpoint(reactor, TCPAddress("127.0.0.1", 0), tls).listen(cast(Any, factory))
        self.addCleanup(port.stopListening)
        self.addCleanup(factory.abort)
        return f"127.0.0.1:{cast(Any, port.getHost()).port}"

    async def node(self, name: str, target: str, tls: TargetTLSConfig | None = None) -> None:
        self.make_edge(name, [target], tls=tls)
        await self.until(lambda: self.cloud.knows(name))

    def get(self, host: str, path: str, connection: str = "close") -> bytes:
        return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: {connection}\r\n\r\n".encode()

    async def ask(self, address: TCPAddress, data: bytes, tls: Any = None) -> bytes:
        """What is answered until the listener closes."""
        answer = Talker(data)
        endpoint = self.endpoint(address, tls)
        await endpoint.connect(cast(Any, Factory.forProtocol(cast(Any, lambda: answer))))
        return await answer.over

    def endpoint(self, address: TCPAddress, tls: Any = None) -> Any:
        return ClientEndpoint(reactor, address, tls, "localhost" if tls else None)

    async def test_http(self) -> None:
        target = await self.target_server(None)
        await self.node("edge-2", target)
        await self.node("edge-3", target)
        config = HTTPListenerConfig(listen="127.0.0.1:0", target=target)
        address = self.start(HTTPListener(reactor, self.cloud, config))
        body = b"POST /big HTTP/1.1\r\nHost: edge-2\r\nContent-Length: 3000000\r\n\r\n" + bytes(3_000_000)
        answer = await self.ask(
            address, self.get("edge-3", "/a", "keep-alive") + body + self.get("edge-9", "/c")
        )
        self.assertIn(b"None /a 0", answer)
        self.assertIn(b"None /big 3000000", answer)
        self.assertIn(b"404 Not Found", answer)

    async def test_upgrade(self) -> None:
        target = await self.target_server(None)
        await self.node("edge-2", target)
        config = HTTPListenerConfig(listen="127.0.0.1:0", target=target)
        address = self.start(HTTPListener(reactor, self.cloud, config))
        hello = b"GET / HTTP/1.1\r\nHost: edge-2\r\nConnection: Upgrade\r\nUpgrade: reverse\r\n\r\nabc"
        answer = Talker(hello)
        await self.endpoint(address).connect(cast(Any, Factory.forProtocol(cast(Any, lambda: answer))))
        await self.until(lambda: answer.data.endswith(b"\r\n\r\ncba"))
        answer.transport.write(b"xyz")
        await self.until(lambda: answer.data.endswith(b"cbazyx"))
        answer.transport.loseConnection()
        await answer.over

    async def https(self, target: str, **options: Any) -> TCPAddress:
        config = HTTPSListenerConfig(
            listen="127.0.0.1:0",
            certificate=self.server.certificate,
            key=self.server.key,
            target=target,
            **options,
        )
        return self.start(HTTPSListener(reactor, self.cloud, config, self.watcher))

    async def test_https_ends_here_and_begins_anew_on_the_node(self) -> None:
        pair = self.ca.issue("kubelet", dns=["edge-2"], directory=self.directory)
        target = await self.target_server(
            ServerContextSource(pair.certificate, pair.key, [self.ca.path], "required")
        )
        client = self.ca.issue("edge-2-client", directory=self.directory)
        tls = TargetTLSConfig(
            ca=[self.ca.path], certificate=client.certificate, key=client.key, server_name="edge-2"
        )
        await self.node("edge-2", target, tls)
        await self.node("edge-3", target, TargetTLSConfig(ca=[self.ca.path]))
        await self.node("edge-4", target)
        address = await self.https(target, client_ca=[self.ca.path], client_names=["operator"])
        operator = self.ca.issue("operator", directory=self.directory)
        known = ClientContextSource([self.ca.path], operator.certificate, operator.key)
        self.assertIn(b"\r\n\r\nedge-2-client /x 0", await self.ask(address, self.get("edge-2", "/x"), known))
        for node, status, cause in (
            ("edge-3", b"502", b"certificate not accepted"),  # the kubelet is not called 127.0.0.1
            ("edge-4", b"403", b"serves no streams of kind 'tls'"),
            ("edge-9", b"404", b"no connected node"),
        ):
            answer = await self.ask(address, self.get(node, "/"), known)
            self.assertTrue(answer.startswith(b"HTTP/1.1 " + status), answer)
            self.assertIn(cause, answer)
        other = self.ca.issue("somebody", directory=self.directory)
        stranger = ClientContextSource([self.ca.path], other.certificate, other.key)
        answer = await self.ask(address, self.get("edge-2", "/x"), stranger)
        self.assertTrue(answer.startswith(b"HTTP/1.1 403"), answer)
        nobody = ClientContextSource([self.ca.path])
        self.assertEqual(await self.ask(address, self.get("edge-2", "/x"), nobody), b"")

    async def test_the_allow_list_holds_for_tls_too(self) -> None:
        await self.node("edge-2", "127.0.0.1:1", TargetTLSConfig(ca=[self.ca.path]))
        opening: Deferred[Any] = Deferred.fromCoroutine(
            self.cloud.open("edge-2", self.target, timeout=2, kind="tls")
        )
        problem = await self.assertFailure(opening, DialError)
        self.assertEqual(problem.code, "denied")

    async def test_https_to_a_target_without_tls(self) -> None:
        target = await self.target_server(None)
        await self.node("edge-2", target)
        address = await self.https(target, target_tls=False)
        tls = ClientContextSource([self.ca.path])
        self.assertIn(b"None /y 0", await self.ask(address, self.get("edge-2", "/y"), tls))
