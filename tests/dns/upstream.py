"""Upstream servers and clients on loopback, for both of our servers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import dnslib
from dnslib import RR, TXT, DNSRecord
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from superedge.config.addresses import TCPAddress
from superedge.interfaces import IReactor
from superedge.net.endpoints import ClientEndpoint, ServerEndpoint

reactor = cast(IReactor, _reactor)
Behaviour = Callable[[bytes], Sequence[bytes]]


def says(text: str, code: int = 0, ttl: int = 60, copies: int = 1, cut: bool = False) -> Behaviour:
    """Answers each question with TXT records, or the first part of them with TC set."""

    def behave(data: bytes) -> list[bytes]:
        answer = DNSRecord.parse(data).reply()
        answer.header.rcode = code
        answer.header.tc = int(cut)
        for _ in range(0 if code else copies):
            answer.add_answer(RR(answer.q.qname, dnslib.QTYPE.TXT, ttl=ttl, rdata=TXT(text)))
        return [bytes(answer.pack())]

    return behave


def silent(data: bytes) -> list[bytes]:
    return []


async def listen_on_both(factory: Factory, datagrams: DatagramProtocol) -> tuple[Any, Any]:
    """A TCP and a UDP port of one number, which another process may take between the two."""
    while True:
        tcp = await ServerEndpoint(reactor, TCPAddress("127.0.0.1", 0)).listen(cast(Any, factory))
        try:
            return tcp, reactor.listenUDP(cast(Any, tcp.getHost()).port, datagrams, "127.0.0.1", 65535)
        except CannotListenError:
            await cast(Any, tcp.stopListening() or deferLater(reactor, 0))


class Upstream(DatagramProtocol):
    """Behaves over UDP, and over TCP when it is to listen there."""

    def __init__(self, behave: Behaviour, delay: float = 0.0) -> None:
        self.behave = behave
        self.delay = delay
        self.names: list[str] = []
        self.packets: list[bytes] = []
        self.sources: list[Any] = []
        self.calls: list[Any] = []
        self.address = ""

    @classmethod
    def nowhere(cls) -> Upstream:
        """One whose port is closed."""
        upstream = cls(silent)
        upstream.address = "127.0.0.1:1"
        return upstream

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        self.names.append(str(DNSRecord.parse(datagram).q.qname))
        self.packets.append(datagram)
        self.sources.append(addr)
        for answer in self.behave(datagram):
            send = cast(Any, self.transport).write
            if self.delay:
                call = reactor.callLater(self.delay, send, answer, addr)
                self.calls.append(call)
            else:
                send(answer, addr)


class _Stream(Protocol):
    behave: Any

    def dataReceived(self, data: bytes) -> None:
        for answer in type(self).behave(data[2:]):
            cast(Any, self.transport).write(len(answer).to_bytes(2, "big") + answer)


class Client(DatagramProtocol):
    """Sends one packet and waits for one."""

    def __init__(self, port: int, data: bytes, host: str = "127.0.0.1") -> None:
        self.port, self.data, self.host = port, data, host
        self.done: Deferred[bytes] = Deferred()

    def startProtocol(self) -> None:
        cast(Any, self.transport).write(self.data, (self.host, self.port))

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        if not self.done.called:
            self.done.callback(datagram)


class StreamClient(Protocol):
    """Sends questions over one connection and collects the answers."""

    def __init__(self) -> None:
        self.received = b""
        self.answers: list[DNSRecord] = []
        self._wanted = 0
        self._done: Deferred[None] | None = None

    def ask(self, *queries: bytes) -> None:
        packed = b"".join(len(query).to_bytes(2, "big") + query for query in queries)
        cast(Any, self.transport).write(packed)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        while len(self.received) >= 2:
            size = int.from_bytes(self.received[:2], "big")
            if len(self.received) < size + 2:
                break
            self.answers.append(DNSRecord.parse(self.received[2 : size + 2]))
            self.received = self.received[size + 2 :]
        if self._done is not None and len(self.answers) >= self._wanted:
            done, self._done = self._done, None
            done.callback(None)

    async def wait(self, count: int) -> None:
        """Until there are so many answers."""
        if len(self.answers) < count:
            self._wanted, self._done = count, Deferred()
            await self._done


class LoopbackTestCase(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        self.ports: list[Any] = []
        self.upstreams: list[Upstream] = []

    async def tearDown(self) -> None:  # type: ignore[override]
        for upstream in self.upstreams:
            for call in upstream.calls:
                if call.active():
                    call.cancel()
        for port in self.ports:
            await cast(Any, port.stopListening() or deferLater(reactor, 0))
        await deferLater(reactor, 0.02)

    async def upstream(
        self,
        behave: Behaviour,
        delay: float = 0.0,
        stream: Behaviour | None = None,
        host: str = "127.0.0.1",
    ) -> Upstream:
        upstream = Upstream(behave, delay)
        self.upstreams.append(upstream)
        if stream is not None:
            factory = Factory()
            factory.noisy = False
            factory.protocol = type("Bound", (_Stream,), {"behave": staticmethod(stream)})
            tcp, port = await listen_on_both(factory, upstream)
            self.ports.append(tcp)
        else:
            port = reactor.listenUDP(0, upstream, host, 65535)
        self.ports.append(port)
        upstream.address = str(TCPAddress(host, cast(Any, port.getHost()).port))
        return upstream

    async def raw(self, port: int, data: bytes, host: str = "127.0.0.1") -> bytes:
        client = Client(port, data, host)
        self.ports.append(reactor.listenUDP(0, client, host, 65535))
        return await client.done

    async def ask(self, port: int, name: str, kind: str = "TXT") -> DNSRecord:
        query: bytes = DNSRecord.question(name, kind).pack()
        data = await self.raw(port, query)
        self.assertEqual(data[:2], query[:2])
        return DNSRecord.parse(data)

    async def text(self, port: int, name: str) -> str:
        """The first TXT record, or the RCODE."""
        answer = await self.ask(port, name)
        return str(answer.rr[0].rdata) if answer.rr else str(dnslib.RCODE[answer.header.rcode])

    async def stream(self, port: int) -> StreamClient:
        factory = Factory.forProtocol(StreamClient)
        endpoint = ClientEndpoint(reactor, TCPAddress("127.0.0.1", port))
        client = cast(StreamClient, await endpoint.connect(cast(Any, factory)))
        self.addCleanup(cast(Any, client.transport).abortConnection)
        return client
