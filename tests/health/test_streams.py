"""The judging replica's streams, with nodes at the other end of a string."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.errors import SuperEdgeError
from superedge.health import metrics
from superedge.health.cloud.assessment import Settings
from superedge.health.cloud.cluster import Scope
from superedge.health.cloud.judge import Judge
from superedge.health.cloud.streams import NodeStreams
from superedge.health.votes.ballot import Opinion, Refused
from superedge.health.votes.messages import (
    FROM_CLOUD,
    Ballots,
    Chain,
    Change,
    Hello,
    Member,
    Message,
    MessageReader,
    Ping,
    Pong,
    Unit,
    encode_message,
)
from superedge.health.votes.signing import Verifier
from superedge.health.votes.verdicts import Verdict
from tests.health.simulation import _Trusting, _Unsigned, facts
from tests.health.voters import ballot


class Stream:
    """A stream of the tunnel; what the node says is given to ``say``."""

    def __init__(self) -> None:
        self.protocol: Any = None
        self.producer: Any = None
        self.gone = False
        self._reader = MessageReader(FROM_CLOUD)
        self.heard: list[Message] = []

    def connect(self, protocol: Any) -> None:
        self.protocol = protocol
        protocol.makeConnection(self)

    def write(self, data: bytes) -> None:
        self.heard += self._reader.feed(data)

    def registerProducer(self, producer: object, streaming: bool) -> None:
        self.producer = producer

    def say(self, *messages: Message) -> None:
        self.protocol.dataReceived(b"".join(map(encode_message, messages)))

    def abortConnection(self) -> None:
        if not self.gone:
            self.gone = True
            if self.protocol is not None:
                self.protocol.connectionLost()


class Tunnel:
    """Sessions by name, and a stream for each that is opened."""

    def __init__(self) -> None:
        self.held: dict[str, int] = {}
        self.opened: list[tuple[str, Stream]] = []
        self.problem: Exception | None = None

    def sessions(self) -> Mapping[str, int]:
        return self.held

    def on_change(self, callback: Callable[[], None]) -> None:
        """The test tells."""

    async def open(self, node: str, kind: str, timeout: float) -> Stream:
        if self.problem is not None:
            raise self.problem
        self.opened.append((node, Stream()))
        return self.opened[-1][1]


class NodeStreamsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.tunnel = Tunnel()
        trusting = cast(Verifier, _Trusting())
        self.judge = Judge(
            self.clock, trusting, Settings(), lambda name: None, lambda name: self.streams.ask(name),
            lambda unit: self.streams.regrouped(unit),
        )  # fmt: skip
        self.streams = NodeStreams(self.clock, self.tunnel, self.judge, trusting)
        self.judge.scope_changed(Scope("", None))
        for name in ("a", "b", "c"):
            self.judge.node_changed(name, facts(name))
        self.judge.start()
        self.streams.startService()
        self.tunnel.held = {"a": 1, "b": 1}
        self.streams.look()
        self.clock.advance(0.3)

    def tearDown(self) -> None:
        self.judge.stop()
        self.streams.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def stream(self, node: str) -> Stream:
        return next(stream for name, stream in reversed(self.tunnel.opened) if name == node)

    def told(self, node: str) -> list[Unit]:
        """The node's units, one after the other."""
        units: list[Unit] = []
        for each in self.stream(node).heard:
            if isinstance(each, Unit):
                units.append(each)
            elif isinstance(each, Change):
                units.append(each.applied(units[-1]))
        return units

    def units(self, node: str) -> list[int]:
        return [len(each.members) for each in self.told(node)]

    def test_one_stream_a_session(self) -> None:
        self.assertEqual([name for name, _ in self.tunnel.opened], ["a", "b"])
        self.tunnel.held = {"a": 2, "b": 1}
        self.streams.look()
        self.clock.advance(0.3)
        self.assertEqual([name for name, _ in self.tunnel.opened], ["a", "b", "a"])
        self.assertTrue(self.tunnel.opened[0][1].gone)

    def test_a_node_is_told_its_unit_and_each_change(self) -> None:
        self.stream("a").say(Hello(0, False, 16))
        self.assertEqual(self.units("a"), [3])
        self.judge.node_changed("d", facts("d"))
        self.clock.advance(0.3)
        self.judge.node_changed("d", facts("d", version="2"))
        self.clock.advance(0.3)
        self.assertEqual(self.units("a"), [3, 4])

    def test_a_change_is_all_that_is_told_of_a_known_unit(self) -> None:
        for number in range(100):
            self.judge.node_changed(f"n{number}", facts(f"n{number}"))
        for node in "ab":
            self.stream(node).say(Hello(0, False, 16))
        self.clock.advance(0.3)
        before = [len(self.stream(node).heard) for node in "ab"]
        self.judge.node_changed("n1", None)
        self.judge.node_changed("n2", facts("n2", host="192.0.2.9"))
        self.clock.advance(0.3)
        change = Change((Member("n2", "192.0.2.9"),), ("n1",))
        self.assertEqual(
            [self.stream(node).heard[at:] for node, at in zip("ab", before, strict=True)], [[change]] * 2
        )
        for node in "ab":
            self.assertEqual(self.told(node)[-1], self.judge.unit(node))
        self.judge.scope_changed(Scope("unit", None))
        self.clock.advance(0.3)
        self.assertEqual(self.stream("a").heard[-1], Unit("", 0, ()))

    def test_where_it_listens_is_told_the_others(self) -> None:
        for node in "ab":
            self.stream(node).say(Hello(0, False, 16, 0, 4711 if node == "a" else 51005))
        self.clock.advance(0.3)
        unit = self.told("b")[-1]
        self.assertEqual([member.port for member in unit.members], [4711, 51005, 51005])

    def test_who_reads_nothing_loses_its_stream(self) -> None:
        slow, stuck = self.stream("a"), self.stream("b")
        for stream in (slow, stuck):
            stream.say(Hello(0, False, 16))
            stream.producer.pauseProducing()
        for _ in range(3):
            self.clock.advance(25)
            slow.producer.resumeProducing()
            slow.producer.pauseProducing()
        self.assertEqual((slow.gone, stuck.gone), (False, True))

    def test_a_port_that_changes_again_and_again_is_told_now_and_then(self) -> None:
        for node in ("a", "b"):
            self.stream(node).say(Hello(0, False, 16))
        self.clock.advance(60)
        before = len(self.told("b"))
        for number in range(100):
            self.stream("a").say(Hello(0, False, 16, 0, 52_000 + number))
            self.clock.advance(0.3)
        self.assertLess(len(self.told("b")) - before, 13)
        self.clock.advance(5)
        self.assertEqual([member.port for member in self.told("b")[-1].members][0], 52_099)

    def test_an_address_that_changes_is_told_the_others(self) -> None:
        self.stream("b").say(Hello(0, False, 16))
        self.judge.node_changed("a", facts("a", host="192.0.2.9"))
        self.clock.advance(0.3)
        unit = self.told("b")[-1]
        self.assertEqual([member.host for member in unit.members], ["192.0.2.9", "b", "c"])

    def test_ballots_are_judged_whoever_brings_them(self) -> None:
        now = int(time.time() * 1000)
        chain, signed = [], []
        for voter in ("b", "c"):
            signer = _Unsigned(voter)
            chain.append(Chain(signer.chain))
            signed.append(signer.sign(ballot(voter, {"a": Opinion.HEALTHY}, unit="", issued=now)))
        self.stream("b").say(Hello(0, True, 0), *chain, Ballots(tuple(signed)))
        assessment = self.judge.assessment("a")
        assert assessment is not None
        self.assertEqual((assessment.verdict, assessment.judgement.healthy), (Verdict.ALIVE, ("b", "c")))

    def test_one_bad_ballot_takes_no_other_with_it(self) -> None:
        now = int(time.time() * 1000)
        bad, good = (
            _Unsigned(voter).sign(ballot(voter, {"a": Opinion.HEALTHY}, unit=unit, issued=now))
            for voter, unit in (("b", "foreign"), ("c", ""))
        )
        self.stream("b").say(Hello(0, True, 0), Ballots((bad, good)))
        assessment = self.judge.assessment("a")
        assert assessment is not None
        self.assertEqual(assessment.judgement.healthy, ("c",))

    def test_a_refused_certificate_is_counted(self) -> None:
        def refuse(chain: object, now: int) -> str:
            raise Refused("identity", "a voter's certificate is refused")

        self.patch(self.streams._verifier, "learn", refuse)
        counter = cast(Any, metrics.BALLOTS_REFUSED.labels("cloud", "identity"))._value
        before = counter.get()
        self.stream("a").say(Hello(0, True, 0), Chain((b"forged",)))
        self.assertEqual((counter.get() - before, self.stream("a").gone), (1, False))

    def test_a_node_that_does_not_answer(self) -> None:
        stream = self.stream("a")
        stream.say(Hello(0, True, 0))
        self.streams.ask("a")
        asked = [each for each in stream.heard if isinstance(each, Ping)]
        self.assertEqual(len(asked), 1)
        self.clock.advance(2.9)
        self.assertTrue(self.judge._states["a"].answers)
        self.clock.advance(0.2)
        self.assertFalse(self.judge._states["a"].answers)
        stream.say(Pong(asked[0].number))
        self.assertTrue(self.judge._states["a"].answers)

    def test_nothing_is_left_of_a_session(self) -> None:
        self.stream("a").say(Hello(0, True, 0))
        self.streams.ask("a")
        self.tunnel.problem = SuperEdgeError("this node serves no streams of kind 'health'")
        self.stream("b").abortConnection()
        self.clock.advance(0.1)
        self.tunnel.held = {}
        self.streams.look()
        self.clock.advance(60)
        for left in ("_asked", "_backoffs", "_retries", "_waiting", "_told", "_connections"):
            self.assertEqual(getattr(self.streams, left), {}, left)

    def test_a_node_that_answers(self) -> None:
        stream = self.stream("a")
        stream.say(Hello(0, True, 0))
        for _ in range(3):
            self.streams.ask("a")
        self.assertEqual(len([each for each in stream.heard if isinstance(each, Ping)]), 1)
        stream.say(Pong(1))
        self.clock.advance(4)
        self.assertTrue(self.judge._states["a"].answers)

    def test_a_node_without_edge_health_is_asked_ever_more_seldom(self) -> None:
        self.tunnel.problem = SuperEdgeError("this node serves no streams of kind 'health'")
        self.stream("b").say(Hello(0, True, 0))
        self.stream("a").abortConnection()
        self.tunnel.opened.clear()
        self.clock.pump([1.0] * 300)
        self.assertEqual(self.tunnel.opened, [])
        self.tunnel.problem = None
        for _ in range(61):
            self.clock.advance(1.0)
            if self.tunnel.opened:
                break
        self.assertEqual([name for name, _ in self.tunnel.opened], ["a"])

    def test_an_error_that_nobody_expected_does_not_end_the_attempts(self) -> None:
        self.tunnel.problem = OSError(24, "Too many open files")
        self.stream("b").say(Hello(0, True, 0))
        self.stream("a").abortConnection()
        self.clock.pump([1.0] * 2)
        self.assertNotEqual(self.flushLoggedErrors(OSError), [])
        self.tunnel.problem = None
        self.tunnel.opened.clear()
        self.clock.pump([1.0] * 10)
        self.assertEqual([name for name, _ in self.tunnel.opened], ["a"])

    def test_what_a_node_may_not_say(self) -> None:
        stream = self.stream("a")
        stream.say(Hello(0, True, 0), Ping(1, 2))
        self.assertTrue(stream.gone)
        stream = self.stream("b")
        stream.say(Pong(1))
        self.assertTrue(stream.gone)
