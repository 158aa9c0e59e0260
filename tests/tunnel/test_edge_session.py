"""An edge's session: what it says, what it is told, and when it is over."""

from __future__ import annotations

from random import Random

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.mux.errors import StreamReset
from superedge.mux.protocol import MuxConnection
from superedge.net.errors import ConnectTimeout
from superedge.tunnel.edgesession import EdgeSession
from superedge.tunnel.messages import Hello, Notice, encode
from superedge.tunnel.redial import Redial
from tests.mux.pair import Pair, Recorder

DRAIN = encode(Notice("drain", "an upgrade"))


class Cloud(Pair):
    """One connection; ``heard`` is what comes on its control stream."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = Recorder()
        self.on_accept = lambda stream: stream.connect(self.heard)

    def notices(self, data: bytes) -> None:
        assert self.heard.transport is not None
        self.heard.transport.write(data)
        self.pump()

    def hello(self) -> Hello:
        self.pump()
        return msgspec.json.decode(self.heard.data[2:], type=Hello)


class EdgeSessionTests(SynchronousTestCase):
    def begin(self, count: int = 1) -> Deferred[bool]:
        self.clock = Clock()
        self.clouds = [Cloud()]
        self.dials: list[Deferred[MuxConnection]] = []
        self.up: set[MuxConnection] = set()
        self.refused: list[str] = []
        self.session = EdgeSession(
            self.clock,  # type: ignore[arg-type]
            self.dial,
            lambda session, joins: Hello("1", session=session, joins=joins),
            lambda: Redial(1.0, 8.0, random=Random(1)),
            self.up.add,
            lambda connection, told: self.up.discard(connection),
            lambda connection, reason: self.refused.append(reason),
        )
        self.session.begin(self.clouds[0].dialer, count)
        self.clouds[0].pump()
        return self.session.ended

    def dial(self) -> Deferred[MuxConnection]:
        self.dials.append(Deferred())
        return self.dials[-1]

    def answer_dial(self) -> Cloud:
        cloud = Cloud()
        self.clouds.append(cloud)
        self.dials.pop(0).callback(cloud.dialer)
        cloud.pump()
        return cloud

    def test_a_cloud_that_asks_to_connect_elsewhere_is_left_and_its_streams_go_on(self) -> None:
        over = self.begin()
        (cloud,) = self.clouds
        cloud.notices(DRAIN[:5])
        self.assertNoResult(over)
        cloud.notices(DRAIN[5:])
        self.assertTrue(self.successResultOf(over))
        cloud.on_accept = lambda stream: None
        self.assertEqual(self.up, {cloud.dialer}, "until the cloud closes it")
        self.assertIsNone(cloud.heard.lost)

    def test_a_go_away_is_the_same(self) -> None:
        over = self.begin()
        self.clouds[0].acceptor.go_away()
        self.clouds[0].pump()
        self.assertTrue(self.successResultOf(over))

    def test_notices_of_another_time_are_passed_over(self) -> None:
        over = self.begin()
        self.clouds[0].notices(encode(Notice("tea", "is ready")) + encode(Notice("dinner")))
        self.assertNoResult(over)
        self.clouds[0].notices(encode(Notice("tea")) + DRAIN)
        self.assertTrue(self.successResultOf(over))

    def test_what_is_no_notice_ends_the_control_stream_alone(self) -> None:
        for nonsense in (b"\xff\xff", b"\0\1{", b"\0\2{}"):
            over = self.begin()
            (cloud,) = self.clouds
            cloud.notices(nonsense)
            self.assertIsInstance(cloud.heard.lost, StreamReset)
            self.assertNoResult(over)
            self.assertEqual(self.up, {cloud.dialer})

    def test_a_connection_that_is_lost_ends_it_otherwise(self) -> None:
        over = self.begin()
        self.clouds[0].acceptor.abort("test")
        self.clouds[0].pump()
        self.assertFalse(self.successResultOf(over))
        self.assertEqual((self.up, self.dials), (set(), []))

    def test_each_connection_says_which_session_it_is_of(self) -> None:
        self.begin(3)
        self.assertEqual(len(self.dials), 2)
        self.answer_dial()
        self.answer_dial()
        first, *others = [cloud.hello() for cloud in self.clouds]
        self.assertFalse(first.joins)
        self.assertRegex(first.session, "^[0-9a-f]{32}$")
        self.assertEqual([(hello.session, hello.joins) for hello in others], [(first.session, True)] * 2)
        self.begin()
        self.assertNotEqual(self.clouds[0].hello().session, first.session)

    def test_it_is_over_when_all_were_sent_away_or_lost(self) -> None:
        for last_is_lost in (False, True):
            over = self.begin(2)
            second = self.answer_dial()
            self.clouds[0].notices(DRAIN)
            self.assertNoResult(over)
            if last_is_lost:
                second.acceptor.abort("test")
                second.pump()
            else:
                second.notices(DRAIN)
            self.assertIs(self.successResultOf(over), not last_is_lost)
            self.clock.advance(100)
            self.assertEqual(self.dials, [], "it dials no more")

    def test_one_that_is_lost_is_dialled_again(self) -> None:
        over = self.begin(2)
        second = self.answer_dial()
        self.clouds[0].acceptor.abort("test")
        self.clouds[0].pump()
        self.answer_dial()
        second.acceptor.abort("test")
        second.pump()
        self.assertEqual(self.dials, [], "one that joined may have been refused: not at once")
        self.clock.advance(1.0)
        self.answer_dial()
        self.assertNoResult(over)
        self.assertEqual(len(self.up), 2)

    def test_a_further_one_that_does_not_answer_is_tried_ever_more_rarely(self) -> None:
        over = self.begin(2)
        times: list[float] = []
        while len(times) < 8:
            if self.dials:
                times.append(self.clock.seconds())
                self.dials.pop().errback(ConnectTimeout("nobody there"))
            self.clock.advance(0.25)
        pauses = [after - before for before, after in zip(times, times[1:], strict=False)]
        self.assertLessEqual(pauses[0], 1.25)
        self.assertGreaterEqual(pauses[-1], 4.0)
        self.assertLessEqual(max(pauses), 8.25)
        self.assertNoResult(over)
