"""superedge.mux against HashiCorp's yamux in Go, in both roles."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from superedge.config.addresses import TCPAddress
from superedge.interfaces import IReactor
from superedge.mux.errors import StreamRefused
from superedge.mux.protocol import MuxConnection
from superedge.mux.settings import MuxSettings
from superedge.mux.stream import MuxStream
from superedge.net.endpoints import ClientEndpoint, ServerEndpoint
from tests.controlplane.build import CACHE

reactor = cast(IReactor, _reactor)
SOURCE = Path(__file__).parent / "yamux"


@cache
def peer() -> str:
    """The Go program, built when it is not yet."""
    CACHE.mkdir(parents=True, exist_ok=True)
    binary = CACHE / "yamux-peer"
    subprocess.run(
        ["go", "build", "-o", str(binary), "."],
        cwd=SOURCE,
        check=True,
        env={**os.environ, "CGO_ENABLED": "0"},
    )
    return str(binary)


@implementer(IHalfCloseableProtocol)
class Asking(Protocol):
    """Sends a command and data, closes its half, and collects until the other half is closed."""

    transport: Any

    def __init__(self, command: str, data: bytes = b"", finish: bool = True) -> None:
        self._to_send = command.encode() + b"\n" + data
        self._finish = finish
        self._received: list[bytes] = []
        self.done: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(self._to_send)
        if self._finish:
            self.transport.loseWriteConnection()

    def dataReceived(self, data: bytes) -> None:
        self._received.append(data)

    def readConnectionLost(self) -> None:
        self.done.callback(b"".join(self._received))
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.done.called:
            self.done.errback(reason)


@implementer(IHalfCloseableProtocol)
class Echoing(Protocol):
    """Sends everything back, then closes its half, too."""

    transport: Any

    def connectionMade(self) -> None:
        # Reads only as fast as it can write.
        self.transport.registerProducer(self.transport, True)

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)

    def readConnectionLost(self) -> None:
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass


class _Sessions(Factory):
    noisy = False

    def __init__(self, made: list[MuxConnection], dialer: bool) -> None:
        self._made = made
        self._dialer = dialer

    def buildProtocol(self, addr: Any) -> MuxConnection:
        def accept(stream: MuxStream) -> None:
            stream.connect(Echoing())

        session = MuxConnection(reactor, dialer=self._dialer, settings=MuxSettings(), accept=accept)
        self._made.append(session)
        return session


class InteropCase(TestCase):
    timeout = 60
    if os.environ.get("SUPEREDGE_CLUSTER_TESTS") != "1" or shutil.which("go") is None:
        skip = "set SUPEREDGE_CLUSTER_TESTS=1 and install Go to run it against yamux in Go"

    def setUp(self) -> None:
        self.sessions: list[MuxConnection] = []

    async def tearDown(self) -> None:  # type: ignore[override]
        for session in self.sessions:
            ended = session.when_closed()
            session.abort("the test is over")
            await ended
        wait: Deferred[None] = Deferred()
        reactor.callLater(0.05, wait.callback, None)
        await wait


class GoAcceptsTests(InteropCase):
    """We dial; yamux in Go takes our streams."""

    async def dial(self) -> MuxConnection:
        process = subprocess.Popen(
            [peer(), "-role", "server", "-address", "127.0.0.1:0"], stdout=subprocess.PIPE
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        port = int(process.stdout.readline().rpartition(b":")[2])
        endpoint = ClientEndpoint(reactor, TCPAddress("127.0.0.1", port))
        await endpoint.connect(cast(Any, _Sessions(self.sessions, True)))
        return self.sessions[0]

    def ask(
        self, session: MuxConnection, command: str, data: bytes = b"", finish: bool = True
    ) -> Deferred[bytes]:
        asking = Asking(command, data, finish)
        session.open().connect(asking)
        return asking.done

    async def test_half_close_and_megabytes_both_ways(self) -> None:
        session = await self.dial()
        data = os.urandom(8_000_000)
        self.assertEqual(await self.ask(session, "echo", data), data)

    async def test_more_than_any_window_one_way(self) -> None:
        session = await self.dial()
        data = os.urandom(30_000_000)
        size, digest = (await self.ask(session, "count", data)).decode().split()
        self.assertEqual((int(size), digest), (len(data), hashlib.sha256(data).hexdigest()))
        self.assertEqual(await self.ask(session, "send 30000000"), b"x" * 30_000_000)

    async def test_many_streams_at_once(self) -> None:
        session = await self.dial()
        data = [os.urandom(1000 + number) for number in range(300)]
        answers = await gatherResults([self.ask(session, "echo", each) for each in data])
        self.assertEqual(answers, data)

    async def test_ping(self) -> None:
        session = await self.dial()
        while session.rtt is None:  # the first ping leaves at once
            await self.ask(session, "echo", b"x")
        self.assertGreater(session.rtt, 0)

    async def test_go_away_ends_no_stream_that_is_open(self) -> None:
        session = await self.dial()
        told: Deferred[None] = Deferred()
        session.on_going_away = lambda: told.callback(None)
        asking = Asking("echo", b"before ", finish=False)
        stream = session.open()
        stream.connect(asking)
        done = self.ask(session, "goaway")
        await told
        self.assertRaises(StreamRefused, session.open)
        stream.write(b"after")
        stream.loseWriteConnection()
        self.assertEqual(await asking.done, b"before after")
        await done

    async def test_a_stream_that_is_reset(self) -> None:
        session = await self.dial()
        asking = Asking("echo", b"x" * 1000, finish=False)
        stream = session.open()
        stream.connect(asking)
        stream.abortConnection()
        await asking.done.addErrback(lambda _: None)
        self.assertEqual(await self.ask(session, "echo", b"the session lives"), b"the session lives")


class GoDialsTests(InteropCase):
    """yamux in Go dials and opens streams; we take them."""

    async def run_client(self, streams: int, size: int) -> None:
        endpoint = ServerEndpoint(reactor, TCPAddress("127.0.0.1", 0))
        port = await endpoint.listen(cast(Any, _Sessions(self.sessions, False)))
        self.addCleanup(port.stopListening)
        address = f"127.0.0.1:{cast(Any, port.getHost()).port}"
        command = [
            peer(),
            "-role",
            "client",
            "-address",
            address,
            "-streams",
            str(streams),
            "-size",
            str(size),
        ]
        done = await deferToThread(
            subprocess.run, command, capture_output=True, text=True, timeout=50, check=False
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    async def test_one_large(self) -> None:
        await self.run_client(1, 20_000_000)

    async def test_many_small(self) -> None:
        await self.run_client(500, 1000)

    async def test_some_of_both(self) -> None:
        await self.run_client(20, 1_000_000)
