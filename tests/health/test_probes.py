"""Probes against real sockets, and the score that they make together."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import h2.config
import h2.connection
import h2.events
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from superedge.config.addresses import TCPAddress
from superedge.config.health import EdgeHealthConfig, ProbeConfig
from superedge.errors import ConfigError, SuperEdgeError
from superedge.health.edge.probes.icmp import ICMPChecker
from superedge.health.edge.probes.kubelet import Answers, KubeletChecker, node_of
from superedge.health.edge.probes.probeset import ConfiguredProbe, ProbeSet
from superedge.health.edge.probes.tcp import TCPChecker
from superedge.health.edge.probes.web import http_checker, https_checker
from superedge.health.votes.messages import Member
from superedge.net.endpoints import ServerEndpoint
from superedge.net.errors import ConnectError
from superedge.testing.ports import free_port
from superedge.tls.authority import Authority
from superedge.tls.contexts import ServerContextSource
from superedge.web.h2frames import GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, frame, settings
from tests.kube.contract import ClientContract

PEER = Member("edge-2", "127.0.0.1", 10250)
MEMBERS = {"edge-1", "edge-2", "edge-3"}.__contains__


class Server(Protocol):
    """Answers every request with the next status; 0 hangs up, -1 says nothing."""

    transport: Any
    statuses: list[int]
    seen: list[bytes]

    def connectionMade(self) -> None:
        self.seen.append(b"connected")

    def dataReceived(self, data: bytes) -> None:
        self.seen.append(data)
        status = self.statuses.pop(0) if self.statuses else 401
        if status > 0:
            self.transport.write(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)
        elif status == 0:
            self.transport.loseConnection()


class WebTests(TestCase):
    reactor = ClientContract.reactor

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        ca = Authority.create(self.directory)
        self.ca = ca.path
        pair = ca.issue("system:node:edge-7", dns=["kubelet"], ips=["127.0.0.1"], directory=self.directory)
        self.statuses: list[int] = []
        self.seen: list[bytes] = []
        self.checkers: list[Any] = []
        self.ports = []
        for tls in (ServerContextSource(pair.certificate, pair.key), None):
            factory = Factory()
            factory.protocol = cast(Any, type("S", (Server,), {"statuses": self.statuses, "seen": self.seen}))
            endpoint = ServerEndpoint(self.reactor, TCPAddress("127.0.0.1", 0), tls)
            self.ports.append(endpoint.listen_now(factory))
        self.secure, self.plain = (cast(Any, port.getHost()).port for port in self.ports)

    async def tearDown(self) -> None:  # type: ignore[override]
        for checker in self.checkers:
            checker.close()
        for port in self.ports:
            port.stopListening()
        await deferLater(self.reactor, 0.05)

    def checker(self, make: Any, **options: Any) -> Any:
        made = make(self.reactor, options)
        self.checkers.append(made)
        return made

    async def fails(self, checker: Any, port: int) -> str:
        try:
            await checker.check("127.0.0.1", port, 1.0)
        except SuperEdgeError as problem:
            return str(problem)
        return self.fail("it passes")

    async def test_a_kubelet_may_answer_what_it_likes(self) -> None:
        checker = self.checker(KubeletChecker)
        self.statuses += [401, 403, 200, 500]
        for _ in range(4):
            self.assertEqual(await checker.check("127.0.0.1", self.secure, 1.0), "edge-7")
        self.assertEqual(self.seen.count(b"connected"), 2, "one to learn that it is no HTTP/2")
        self.assertNotIn(b"Authorization", b"".join(self.seen))
        self.assertTrue(self.seen[2].startswith(b"HEAD / HTTP/1.1\r\n"))

    async def test_a_kubelet_that_hangs_up_or_is_not_there(self) -> None:
        checker = self.checker(KubeletChecker)
        self.statuses += [0]
        await self.fails(checker, self.secure)
        self.assertIn("127.0.0.1", await self.fails(checker, free_port()))
        self.assertIn("TLS", await self.fails(checker, self.plain))

    async def test_a_connection_that_was_closed_meanwhile_says_nothing(self) -> None:
        checker = self.checker(KubeletChecker)
        await checker.check("127.0.0.1", self.secure, 1.0)
        self.statuses += [0, 401]
        await checker.check("127.0.0.1", self.secure, 1.0)
        self.assertEqual(self.seen.count(b"connected"), 3)

    async def test_a_kubelet_whose_certificate_is_to_be_verified(self) -> None:
        good = self.checker(KubeletChecker, ca=[str(self.ca)], server_name="kubelet")
        await good.check("127.0.0.1", self.secure, 1.0)
        other = Authority.create(self.directory / "other")
        await self.fails(self.checker(KubeletChecker, ca=[str(other.path)]), self.secure)
        await self.fails(self.checker(KubeletChecker, ca=[str(self.ca)], server_name="other"), self.secure)

    async def test_http_wants_success(self) -> None:
        checker = self.checker(http_checker, path="/healthz")
        self.statuses += [200, 302, 404, 503]
        for _ in range(2):
            await checker.check("127.0.0.1", self.plain, 1.0)
        for status in ("404", "503"):
            self.assertIn(f"/healthz answers {status}", await self.fails(checker, self.plain))

    async def test_https_verifies(self) -> None:
        self.statuses += [200]
        await self.checker(https_checker, ca=[str(self.ca)]).check("127.0.0.1", self.secure, 1.0)
        self.assertRaises(ConfigError, https_checker, self.reactor, {})
        self.assertRaises(ConfigError, http_checker, self.reactor, {"paht": "/"})

    async def test_tcp(self) -> None:
        checker = self.checker(TCPChecker)
        await checker.check("127.0.0.1", self.plain, 1.0)
        await self.fails(checker, free_port())

    async def test_icmp(self) -> None:
        try:
            checker = self.checker(ICMPChecker)
        except ConfigError as problem:
            self.assertIn("net.ipv4.ping_group_range", str(problem))
            return
        await checker.check("127.0.0.1", 0, 1.0)
        await checker.check("::1", 0, 1.0)

    async def test_a_check_that_is_given_up_leaves_nothing(self) -> None:
        self.statuses += [-1]
        checker = self.checker(KubeletChecker)
        probe_set = ProbeSet(
            self.reactor, [ConfiguredProbe("kubelet", checker, 1.0, 0.3, 0, self.secure)], MEMBERS
        )
        self.assertEqual(await probe_set.score(PEER, 1.0), 0)
        self.assertEqual(await probe_set.score(PEER, 1.0), 100)


class H2Server(Protocol):
    """HTTP/2 by the library h2; answers what it is asked with 401."""

    transport: Any
    asked: list[list[tuple[str, str]]]
    made: list[H2Server]

    def connectionMade(self) -> None:
        self.made.append(self)
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self.connection = h2.connection.H2Connection(config)
        self.connection.initiate_connection()
        self.connection.ping(b"12345678")
        self.transport.write(self.connection.data_to_send())

    def dataReceived(self, data: bytes) -> None:
        for event in self.connection.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                self.asked.append(cast(Any, event.headers))
                answer = [(":status", "401"), ("content-type", "text/plain")]
                self.connection.send_headers(event.stream_id, answer, end_stream=True)
        self.transport.write(self.connection.data_to_send())


class H2Tests(TestCase):
    reactor = ClientContract.reactor

    def setUp(self) -> None:
        directory = Path(self.mktemp())
        pair = Authority.create(directory).issue("system:node:edge-7", ips=["127.0.0.1"], directory=directory)
        self.asked: list[list[tuple[str, str]]] = []
        self.made: list[H2Server] = []
        factory = Factory()
        factory.protocol = cast(Any, type("S", (H2Server,), {"asked": self.asked, "made": self.made}))
        tls = ServerContextSource(pair.certificate, pair.key, alpn=["h2", "http/1.1"])
        self.port = ServerEndpoint(self.reactor, TCPAddress("127.0.0.1", 0), tls).listen_now(factory)
        self.number = cast(Any, self.port.getHost()).port
        self.checker = KubeletChecker(self.reactor, {})

    async def tearDown(self) -> None:  # type: ignore[override]
        self.checker.close()
        self.port.stopListening()
        await deferLater(self.reactor, 0.05)

    async def test_one_connection_for_all_checks(self) -> None:
        for _ in range(5):
            self.assertEqual(await self.checker.check("127.0.0.1", self.number, 1.0), "edge-7")
        self.assertEqual(len(self.made), 1)
        wanted = [(":method", "HEAD"), (":scheme", "https"), (":path", "/"), (":authority", "kubelet")]
        self.assertEqual([list(map(tuple, each)) for each in self.asked], [wanted] * 5)

    async def test_a_server_that_goes_away(self) -> None:
        await self.checker.check("127.0.0.1", self.number, 1.0)
        self.made[0].transport.write(frame(GOAWAY, 0, 0, bytes(8)))
        await self.checker.check("127.0.0.1", self.number, 1.0)
        self.made[1].transport.abortConnection()
        await self.checker.check("127.0.0.1", self.number, 1.0)
        self.assertEqual(len(self.made), 3)

    async def test_a_server_that_sends_without_end(self) -> None:
        await self.checker.check("127.0.0.1", self.number, 1.0)
        hostile = self.made[0]
        while hostile.transport.connected:
            hostile.transport.write(frame(PING, 0, 0, bytes(8)) * 1000)
            await deferLater(self.reactor, 0)
        await self.checker.check("127.0.0.1", self.number, 1.0)
        self.assertEqual(len(self.made), 2)


class NameTests(SynchronousTestCase):
    def test_whose_kubelet_it_is(self) -> None:
        authority = Authority.create(Path(self.mktemp()))
        for common, node in {
            "system:node:edge-7": "edge-7", "edge-7.shop.example@1764325000": "edge-7.shop.example",
            "edge-7": None, "@1764325000": None, "kubelet@home": None,
        }.items():  # fmt: skip
            pair = authority.issue(common, directory=authority.path.parent, name="kubelet")
            der = x509.load_pem_x509_certificate(pair.certificate.read_bytes()).public_bytes(Encoding.DER)
            self.assertEqual(node_of(der), node)
        self.assertIsNone(node_of(b"nonsense"))


class AnswersTests(SynchronousTestCase):
    def test_byte_by_byte(self) -> None:
        data = (
            settings({})
            + frame(HEADERS, 5, 1, b"x")
            + frame(PING, 0, 0, b"12345678")
            + frame(HEADERS, 5, 3, b"")
        )
        answers, answered, replies = Answers(), set[int](), b""
        for at in range(len(data)):
            streams, reply = answers.feed(data[at : at + 1])
            answered |= streams
            replies += reply
        self.assertEqual(answered, {1, 3})
        self.assertEqual(replies, frame(SETTINGS, 1, 0) + frame(PING, 1, 0, b"12345678"))

    @given(st.binary(max_size=200))
    def test_any_bytes(self, data: bytes) -> None:
        with contextlib.suppress(ConnectError):
            Answers().feed(data)

    def test_what_ends_it(self) -> None:
        for data in (frame(GOAWAY, 0, 0, bytes(8)), frame(RST_STREAM, 0, 1, bytes(4)), b"\xff" * 9):
            self.assertRaises(ConnectError, Answers().feed, data)


class Checker:
    """Passes, or not, as it is told."""

    def __init__(self, *passes: bool | None, name: str | None = None) -> None:
        self.passes = list(passes)
        self.name = name
        self.ports: list[int] = []

    async def check(self, host: str, port: int, timeout: float) -> str | None:
        self.ports.append(port)
        passes = self.passes.pop(0)
        if passes is None:
            await Deferred()
        if not passes:
            raise SuperEdgeError("no")
        return self.name


class PanelTests(SynchronousTestCase):
    def score(self, probes: Sequence[ConfiguredProbe], wait: float = 0.0, multiplier: float = 1.0) -> int:
        clock = Clock()
        done = Deferred.fromCoroutine(ProbeSet(clock, probes, MEMBERS).score(PEER, multiplier))
        clock.advance(wait)
        return self.successResultOf(done)

    def test_weights_add_up(self) -> None:
        good, bad = Checker(True), Checker(False)
        probes = [ConfiguredProbe("a", good, 0.7, 2.0, 0, 80), ConfiguredProbe("b", bad, 0.3, 2.0, 0, 0)]
        self.assertEqual(self.score(probes), 70)
        self.assertEqual((good.ports, bad.ports), ([80], [10250]))

    def test_thirds_make_a_whole(self) -> None:
        config = EdgeHealthConfig(
            certificate=Path("c"),
            key=Path("k"),
            ca=[Path("a")],
            probes=[ProbeConfig(kind="kubelet") for _ in range(3)],
        )
        weights = config.weights()
        probes = [ConfiguredProbe("p", Checker(True), weight, 2.0, 0, 1) for weight in weights]
        self.assertEqual(self.score(probes), 100)
        mixed = [
            ProbeConfig(kind="kubelet", weight=0.5),
            ProbeConfig(kind="kubelet"),
            ProbeConfig(kind="icmp"),
        ]
        config = EdgeHealthConfig(certificate=Path("c"), key=Path("k"), ca=[Path("a")], probes=mixed)
        self.assertEqual(config.weights(), [0.5, 0.25, 0.25])

    def test_retries(self) -> None:
        self.assertEqual(self.score([ConfiguredProbe("a", Checker(False, False, True), 1.0, 2.0, 2, 1)]), 100)
        self.assertEqual(self.score([ConfiguredProbe("a", Checker(False, False, True), 1.0, 2.0, 1, 1)]), 0)

    def test_another_member_at_the_address_of_a_peer_is_not_the_peer(self) -> None:
        for name, score in {"edge-2": 100, "edge-3": 0, "host-of-edge-2": 100}.items():
            self.assertEqual(
                self.score([ConfiguredProbe("a", Checker(True, name=name), 1.0, 2.0, 0, 1)]), score
            )

    def test_time_is_limited_and_stretches(self) -> None:
        self.assertEqual(self.score([ConfiguredProbe("a", Checker(None), 1.0, 2.0, 0, 1)], wait=2.1), 0)
        clock = Clock()
        done = Deferred.fromCoroutine(
            ProbeSet(clock, [ConfiguredProbe("a", Checker(None), 1.0, 2.0, 0, 1)], MEMBERS).score(PEER, 3.0)
        )
        clock.advance(5.9)
        self.assertNoResult(done)
        clock.advance(0.2)
        self.assertEqual(self.successResultOf(done), 0)
