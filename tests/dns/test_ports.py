"""Source ports of questions upstream, with sockets of a test's own."""

from __future__ import annotations

import errno
from typing import Any, cast

from dnslib import DNSRecord
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.addresses import TCPAddress
from superedge.dns import ports
from superedge.dns.messages import question_section
from superedge.dns.ports import AGE, PORTS, USES, ForwardError, NoSocket, SourcePorts
from superedge.reactor.deadlines import Deadlines

SERVER = TCPAddress("192.0.2.1", 53)
QUESTION = bytes(DNSRecord.question("example.org").pack()[2:])
SECTION = question_section(QUESTION)


class Socket:
    """Keeps what is sent; receives what a test puts in."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.received: list[bytes] = []
        self.problems: list[int] = []
        self.error = 0
        self.number = 7

    def fileno(self) -> int:
        return self.number

    def send(self, data: bytes) -> None:
        if self.problems:
            raise OSError(self.problems.pop(0), "a problem")
        self.sent.append(data)

    def recv_into(self, buffer: bytearray) -> int:
        if not self.received:
            raise BlockingIOError
        data = self.received.pop(0)
        buffer[: len(data)] = data
        return len(data)

    def getsockopt(self, *_: int) -> int:
        return self.error

    def close(self) -> None:
        self.number = -1


class Reactor(Clock):
    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.discard(reader)


class PortTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Reactor()
        self.sockets: list[Socket] = []
        self.problem: OSError | None = None
        self.patch(ports, "connected", self.connected)
        reactor = cast(Any, self.reactor)
        self.ports = SourcePorts(reactor, SERVER, Deadlines(reactor))
        self.heard: list[bytes | Exception] = []

    def connected(self, server: TCPAddress) -> Any:
        if self.problem is not None:
            raise self.problem
        self.sockets.append(Socket())
        return self.sockets[-1]

    def send(self, count: int = 1) -> Any:
        for _ in range(count):
            sent = self.ports.send(QUESTION, SECTION, self.heard.append)
        return sent

    def open(self) -> int:
        self.assertEqual(len(self.reactor.readers), sum(each.number > 0 for each in self.sockets))
        return len(self.reactor.readers)

    def answer(self, sock: Socket, query: bytes) -> bytes:
        answer = bytes(DNSRecord.parse(query).reply().pack())
        sock.received.append(answer)
        for reader in list(self.reactor.readers):
            if reader._socket is sock:
                reader.doRead()
        return answer

    def test_few_questions_have_a_port_each(self) -> None:
        self.send(PORTS)
        self.assertEqual([len(each.sent) for each in self.sockets], [1] * PORTS)

    def test_many_questions_share_ports_that_give_way(self) -> None:
        count = 100 * PORTS
        for _ in range(count):
            self.send()
            sock = next(each for each in reversed(self.sockets) if each.number > 0 and each.sent)
        self.assertEqual(sum(len(each.sent) for each in self.sockets), count)
        self.assertGreaterEqual(len(self.sockets), count / USES)
        self.assertLessEqual(max(len(each.sent) for each in self.sockets), USES)
        ids = {query[:2] for each in self.sockets for query in each.sent}
        self.assertGreater(len(ids), count * 0.9)
        for sock in self.sockets:
            for query in sock.sent:
                self.answer(sock, query)
        self.assertEqual(len(self.heard), count)
        self.assertLessEqual(self.open(), PORTS)

    def test_an_answer_goes_to_who_asked(self) -> None:
        self.send()
        (sock,) = self.sockets
        (query,) = sock.sent
        self.answer(sock, bytes([query[0] ^ 1]) + query[1:])
        self.answer(sock, query.replace(b"example", b"Example"))
        sock.received += [b"", query]
        for reader in self.reactor.readers:
            reader.doRead()
        self.assertEqual(self.heard, [])
        first = self.answer(sock, query)
        self.answer(sock, query)
        self.assertEqual(self.heard, [first])

    def test_a_port_ends_with_its_age_and_its_last_answer(self) -> None:
        """An idle one is closed; the address that it has may be this machine's no more."""
        self.send(2)
        one, other = self.sockets
        self.answer(one, one.sent[0])
        self.reactor.advance(AGE)
        self.assertEqual((one.number, other.number, self.open()), (-1, 7, 1))
        self.answer(other, other.sent[0])
        self.assertEqual((self.open(), len(self.heard)), (0, 2))
        self.send()
        self.assertEqual(len(self.sockets), 3)

    def test_forgotten_questions_hold_no_port(self) -> None:
        sent = self.send()
        self.ports.renew()
        self.assertEqual(self.open(), 1)
        self.ports.forget(sent)
        self.ports.forget(sent)
        self.assertEqual((self.open(), self.heard), (0, []))

    def test_a_refusal_is_for_all_that_wait_there(self) -> None:
        self.send(PORTS + 10)
        sock = max(self.sockets, key=lambda each: len(each.sent))
        sock.error = errno.ECONNREFUSED
        (reader,) = [each for each in self.reactor.readers if each._socket is sock]
        reader.connectionLost(Failure(ConnectionRefusedError()))
        self.assertEqual(len(self.heard), len(sock.sent))
        self.assertIn("refuse", str(self.heard[0]))
        self.assertEqual(self.open(), PORTS - 1)

    def test_an_address_that_is_gone(self) -> None:
        """The question is sent again, from a new port."""
        self.send(PORTS)
        for each in self.sockets:
            each.problems = [errno.EINVAL]
        self.send()
        self.assertEqual([len(each.sent) for each in self.sockets[PORTS:]], [1])
        self.assertIsInstance(self.heard[0], ForwardError)

    def test_no_way_to_the_server(self) -> None:
        self.problem = OSError(errno.ENETUNREACH, "Network is unreachable")
        problem = self.assertRaises(ForwardError, self.send)
        self.assertNotIsInstance(problem, NoSocket)
        self.assertIn("192.0.2.1:53: Network is unreachable", str(problem))

    def test_when_there_are_no_more_descriptors_the_ports_there_are_do(self) -> None:
        self.send()
        self.problem = OSError(errno.EMFILE, "Too many open files")
        self.send(5)
        self.assertEqual(len(self.sockets[0].sent), 6)
        self.ports.renew()
        self.assertRaises(NoSocket, self.send)

    def test_a_full_buffer_is_no_fault_of_those_who_wait(self) -> None:
        self.send(PORTS)
        for each in self.sockets:
            each.problems = [errno.EAGAIN]
        self.assertRaises(NoSocket, self.send)
        self.assertEqual((self.heard, self.open()), ([], PORTS))

    def test_the_end(self) -> None:
        self.send(PORTS * 2)
        self.ports.close()
        self.assertEqual((self.open(), self.heard), (0, []))
