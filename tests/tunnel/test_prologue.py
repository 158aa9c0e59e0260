"""Prologues between a dialling cloud and a serving edge, joined in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.tunnel import LimitsConfig
from superedge.errors import SuperEdgeError
from superedge.mux.errors import StreamReset
from superedge.mux.stream import MuxStream
from superedge.tunnel.dial import ANSWER_GRACE, dial
from superedge.tunnel.errors import DialError
from superedge.tunnel.messages import MAX_MESSAGE, DialAnswer, DialRequest, encode
from superedge.tunnel.serve import StreamServer
from tests.mux.pair import Pair, Recorder

REQUEST = DialRequest("tcp", "127.0.0.1:10250", 5.0)
WIRE = encode(REQUEST)


class Target(StringTransport):
    """What a handler connected to."""

    protocol: Any = None


class Handler:
    """Connects when the test says so."""

    def __init__(self) -> None:
        self.requests: list[Mapping[str, Any]] = []
        self.timeouts: list[float] = []
        self.cancelled = 0
        self.waiting: list[Deferred[Any]] = []

    async def connect(self, reactor: Any, request: Mapping[str, Any], timeout: float) -> Any:
        self.requests.append(request)
        self.timeouts.append(timeout)
        done: Deferred[Any] = Deferred(lambda _: self.count())
        self.waiting.append(done)
        return await done

    def count(self) -> None:
        self.cancelled += 1


class EdgeTests(SynchronousTestCase):
    """What an opener may send, and what the edge makes of it."""

    def setUp(self) -> None:
        self.pair = Pair()
        self.handler = Handler()
        limits = LimitsConfig(pending_dials=4, prologue_timeout=10.0)
        self.server = StreamServer(cast(Any, self.pair.clock), {"tcp": self.handler}, limits)
        self.pair.on_accept = self.server.accept

    def opened(self, *chunks: bytes) -> tuple[MuxStream, Recorder]:
        stream, heard = self.pair.dialer.open(), Recorder()
        stream.connect(heard)
        for chunk in chunks:
            stream.write(chunk)
            self.pair.pump()
        self.pair.pump()
        return stream, heard

    def assertReset(self, heard: Recorder) -> None:
        self.pair.pump()
        self.assertIsInstance(heard.lost, StreamReset)
        self.assertEqual(heard.data, b"")
        self.assertEqual(self.pair.acceptor.stream_count, 0)

    def refusal(self, *chunks: bytes) -> str:
        """The code of the answer, after which the edge ends the stream."""
        before = self.pair.acceptor.stream_count
        stream, heard = self.opened(*chunks)
        self.assertTrue(heard.fin)
        stream.loseConnection()
        self.pair.pump()
        self.assertEqual(self.pair.acceptor.stream_count, before)
        body = heard.data[2:]
        self.assertEqual(int.from_bytes(heard.data[:2], "big"), len(body))
        answer = msgspec.json.decode(body, type=DialAnswer)
        self.assertFalse(answer.ok)
        self.assertTrue(answer.message)
        return str(answer.code)

    def test_payload_before_the_answer_reaches_the_target(self) -> None:
        stream, heard = self.opened(*(WIRE[at : at + 1] for at in range(len(WIRE))), b"early")
        target = Target()
        self.handler.waiting[0].callback(target)
        self.pair.pump()
        self.assertEqual(target.value(), b"early")
        self.assertEqual(heard.data, encode(DialAnswer(ok=True)))
        target.protocol.dataReceived(b"hello")
        stream.write(b"late")
        self.pair.pump()
        self.assertEqual(heard.data, encode(DialAnswer(ok=True)) + b"hello")
        self.assertEqual(target.value(), b"earlylate")

    def test_payload_in_one_piece_with_the_prologue(self) -> None:
        self.opened(WIRE + b"early")
        target = Target()
        self.handler.waiting[0].callback(target)
        self.pair.pump()
        self.assertEqual(target.value(), b"early")

    def test_cut_by_an_end(self) -> None:
        for at in (0, 1, 2, len(WIRE) - 1):
            stream, heard = self.opened(WIRE[:at])
            stream.loseConnection()
            self.pair.pump()
            self.assertEqual(heard.data, b"")
            self.assertEqual(self.pair.acceptor.stream_count, 0)
        self.assertEqual(self.handler.requests, [])
        self.assertEqual(len(self.pair.acceptor.deadlines), 0)

    def test_cut_by_a_reset(self) -> None:
        stream, _ = self.opened(WIRE[:5])
        stream.abortConnection()
        self.pair.pump()
        self.assertEqual(self.pair.acceptor.stream_count, 0)
        self.assertEqual(len(self.pair.acceptor.deadlines), 0)

    def test_that_never_comes(self) -> None:
        _, heard = self.opened(WIRE[:5])
        self.pair.clock.advance(9.9)
        self.pair.pump()
        self.assertIsNone(heard.lost)
        self.pair.clock.advance(0.2)
        self.assertReset(heard)

    def test_oversized(self) -> None:
        _, heard = self.opened((MAX_MESSAGE + 1).to_bytes(2, "big"))
        self.assertReset(heard)
        _, heard = self.opened(b"\xff\xff" + b"x" * 70000)
        self.assertReset(heard)

    def test_empty(self) -> None:
        _, heard = self.opened(b"\0\0")
        self.assertReset(heard)

    def test_no_request(self) -> None:
        for body in (b"{}", b"garbage", b"\xff", b'{"kind":1}', b'{"kind":"tcp","timeout":"x"}'):
            self.assertEqual(self.refusal(len(body).to_bytes(2, "big") + body), "internal")

    def test_a_kind_that_is_not_served(self) -> None:
        self.assertEqual(self.refusal(encode(DialRequest("udp", "127.0.0.1:53"))), "denied")

    def test_too_many_at_once(self) -> None:
        self.opened(WIRE)
        self.opened(WIRE)
        self.assertEqual(self.refusal(WIRE), "limit")
        self.handler.waiting[0].callback(Target())
        self.pair.pump()
        self.opened(WIRE)
        self.assertEqual(len(self.handler.requests), 3, "a place became free")

    def test_dead_targets_leave_places_for_others(self) -> None:
        self.server = StreamServer(cast(Any, self.pair.clock), {"tcp": self.handler}, LimitsConfig())
        self.pair.on_accept = self.server.accept
        for number in range(300):
            self.opened(encode(DialRequest("tcp", "192.0.2.1:1", 10.0, f"caller-{number}")))
        self.assertEqual(len(self.handler.waiting), 128)
        for number in range(300):
            self.opened(encode(DialRequest("tcp", f"192.0.2.2:{1 + number}", 10.0, "scanner")))
        self.assertLess(len(self.handler.waiting), 256)
        before = len(self.handler.waiting)
        _, heard = self.opened(encode(DialRequest("tcp", "127.0.0.1:10250", 10.0, "kube-apiserver")))
        self.assertEqual((heard.data, len(self.handler.waiting)), (b"", before + 1))

    def test_openers_that_left_hold_no_place(self) -> None:
        for _ in range(10):
            stream, _ = self.opened(WIRE)
            stream.abortConnection()
            self.pair.pump()
        self.opened(WIRE)
        self.assertEqual((len(self.handler.waiting), self.handler.cancelled), (11, 10))

    def test_a_refusal_repeats_no_more_than_some_of_what_was_asked(self) -> None:
        _, heard = self.opened(encode(DialRequest("tcp", "x" * 16000, 10.0)))
        self.handler.waiting[0].errback(DialError("unresolvable", "\x01" * 16000))
        self.pair.pump()
        self.assertIn(b'"code":"unresolvable"', heard.data)

    def test_a_target_that_fails(self) -> None:
        _, heard = self.opened(WIRE)
        self.handler.waiting[0].errback(DialError("refused", "nobody listens"))
        self.pair.pump()
        self.assertIn(b'"code":"refused"', heard.data)

    def test_a_handler_that_refuses(self) -> None:
        _, heard = self.opened(WIRE)
        self.handler.waiting[0].errback(SuperEdgeError("not now"))
        self.pair.pump()
        self.assertIn(b'"code":"internal","message":"not now"', heard.data)

    def test_a_handler_that_breaks(self) -> None:
        _, heard = self.opened(WIRE)
        self.handler.waiting[0].errback(ZeroDivisionError("secret detail"))
        self.pair.pump()
        self.assertIn(b'"code":"internal"', heard.data)
        self.assertNotIn(b"secret", heard.data)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_the_opener_leaves_while_the_edge_dials(self) -> None:
        stream, _ = self.opened(WIRE)
        stream.abortConnection()
        self.pair.pump()
        self.assertEqual(self.handler.cancelled, 1)
        self.assertEqual(self.pair.acceptor.stream_count, 0)

    def test_times_that_nobody_waits(self) -> None:
        for asked, given in ((-1.0, 0.1), (5.0, 5.0), (1e9, 60.0)):
            self.opened(encode(DialRequest("tcp", "x:1", asked)))
            self.assertEqual(self.handler.timeouts.pop(), given)
            self.handler.waiting.pop().errback(DialError("refused", "x"))
            self.pair.pump()


class CloudTests(SynchronousTestCase):
    """What an edge may answer, and what the cloud makes of it."""

    def setUp(self) -> None:
        self.pair = Pair()
        self.opening: Deferred[MuxStream] = Deferred.fromCoroutine(dial(self.pair.dialer, REQUEST))
        self.pair.pump()
        (self.far,) = self.pair.accepted
        self.heard = Recorder()
        self.far.connect(self.heard)
        self.pair.pump()

    def answer(self, *chunks: bytes) -> None:
        for chunk in chunks:
            self.far.write(chunk)
            self.pair.pump()

    def code(self) -> str:
        problem = self.failureResultOf(self.opening, DialError).value
        self.pair.pump()
        self.assertEqual(self.pair.dialer.stream_count, 0, "the stream is gone")
        self.assertEqual(len(self.pair.dialer.deadlines), 0, "and so is its deadline")
        return str(problem.code)

    def test_asks(self) -> None:
        self.assertEqual(self.heard.data, WIRE)
        self.answer(encode(DialAnswer(ok=True)))
        self.successResultOf(self.opening).abortConnection()

    def test_bytes_behind_the_answer_are_the_targets(self) -> None:
        self.answer(encode(DialAnswer(ok=True)) + b"SSH-2.0")
        stream, caller = self.successResultOf(self.opening), Recorder()
        stream.connect(caller)
        self.pair.pump()
        self.assertEqual(caller.data, b"SSH-2.0")

    def test_byte_by_byte(self) -> None:
        wire = encode(DialAnswer(ok=True)) + b"SSH-2.0"
        self.answer(*(wire[at : at + 1] for at in range(len(wire))))
        stream, caller = self.successResultOf(self.opening), Recorder()
        stream.connect(caller)
        self.pair.pump()
        self.assertEqual(caller.data, b"SSH-2.0")

    def test_refused(self) -> None:
        self.answer(encode(DialAnswer(ok=False, code="denied", message="not in the list")))
        self.assertEqual(self.code(), "denied")

    def test_a_code_of_another_time(self) -> None:
        self.answer(encode(DialAnswer(ok=False, code="paused")))
        self.assertEqual(self.code(), "internal")

    def test_no_answer_at_all(self) -> None:
        self.pair.clock.advance(REQUEST.timeout)
        self.pair.pump()
        self.assertNoResult(self.opening)
        self.pair.clock.advance(ANSWER_GRACE)
        self.assertEqual(self.code(), "timeout")

    def test_garbage(self) -> None:
        self.answer(b"\x00\x07garbage")
        self.assertEqual(self.code(), "internal")

    def test_oversized(self) -> None:
        self.answer(b"\xff\xff")
        self.assertEqual(self.code(), "internal")

    def test_cut(self) -> None:
        self.answer(b"\x00")
        self.far.loseConnection()
        self.pair.pump()
        self.assertEqual(self.code(), "not-connected")

    def test_reset(self) -> None:
        self.far.abortConnection()
        self.pair.pump()
        self.assertEqual(self.code(), "not-connected")

    def test_the_session_ends(self) -> None:
        self.pair.dialer.abort("test")
        self.pair.pump()
        self.assertEqual(self.code(), "not-connected")
        again = Deferred.fromCoroutine(dial(self.pair.dialer, REQUEST))
        self.assertEqual(self.failureResultOf(again, DialError).value.code, "not-connected")

    def test_the_edge_takes_no_more(self) -> None:
        self.pair.acceptor.go_away()
        self.pair.pump()
        again = Deferred.fromCoroutine(dial(self.pair.dialer, REQUEST))
        self.assertEqual(self.failureResultOf(again, DialError).value.code, "limit")
        self.answer(encode(DialAnswer(ok=True)))
        self.successResultOf(self.opening).abortConnection()

    def test_a_target_that_no_prologue_holds(self) -> None:
        self.answer(encode(DialAnswer(ok=True)))
        self.successResultOf(self.opening).abortConnection()
        self.pair.pump()
        request = DialRequest("tcp", "x" * MAX_MESSAGE, 5.0)
        again = Deferred.fromCoroutine(dial(self.pair.dialer, request))
        self.assertEqual(self.failureResultOf(again, DialError).value.code, "unresolvable")
        self.assertEqual(self.pair.dialer.stream_count, 0)

    def test_the_caller_gives_up(self) -> None:
        self.opening.addErrback(lambda _: None)
        self.opening.cancel()
        self.pair.pump()
        self.assertIsInstance(self.heard.lost, StreamReset)
        self.assertEqual(self.pair.dialer.stream_count, 0)
