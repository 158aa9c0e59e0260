"""How long an edge waits: what its sessions achieved decides, and why there is none."""

from __future__ import annotations

from random import Random

from twisted.trial.unittest import SynchronousTestCase

from superedge.tunnel.redial import (
    RECONNECT_JITTER,
    REFUSED_PAUSE,
    REFUSED_TIME,
    SHORT_SESSION_PAUSE,
    STABLE_SESSION,
    Redial,
)


class RedialTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.redial = Redial(0.5, 60.0, initial_attempts=6, random=Random(1))

    def test_a_path_that_is_cut_every_five_seconds_is_there_nearly_always(self) -> None:
        up = waited = now = 0.0
        for _ in range(100):
            up += 5.0
            now += 5.0
            waited += self.redial.ended(now, 5.0, worked=True)
        self.assertGreater(up / (up + waited), 0.95)
        self.assertLessEqual(waited / 100, RECONNECT_JITTER)

    def test_sessions_that_work_for_a_moment_only_are_waited_for_briefly(self) -> None:
        delays = [self.redial.ended(float(number), STABLE_SESSION / 2, worked=True) for number in range(30)]
        self.assertLessEqual(max(delays), SHORT_SESSION_PAUSE)
        self.assertGreaterEqual(min(delays[10:]), SHORT_SESSION_PAUSE / 2)

    def test_a_peer_that_never_answers_is_no_session_however_long_it_takes(self) -> None:
        delays = [self.redial.ended(float(number), 300.0, worked=False) for number in range(30)]
        self.assertGreaterEqual(delays[-1], 30.0)

    def test_closed_ports_are_tried_often_for_a_minute_and_then_rarely(self) -> None:
        now, delays = 1000.0, []
        while now < 1000.0 + REFUSED_TIME:
            delays.append(self.redial.failed(now, refused=True))
            now += delays[-1]
        self.assertLessEqual(max(delays), REFUSED_PAUSE)
        self.assertGreaterEqual(min(delays), 0.25)
        later = [self.redial.failed(now, refused=True) for _ in range(10)]
        self.assertGreaterEqual(later[-1], 30.0)
        self.redial.ended(now, STABLE_SESSION, worked=True)
        self.assertLessEqual(self.redial.failed(now, refused=True), 0.5, "the minute begins anew")

    def test_servers_that_do_not_answer_are_tried_ever_more_rarely(self) -> None:
        delays = [self.redial.failed(float(number), refused=False) for number in range(20)]
        self.assertLessEqual(max(delays[:6]), 0.5)
        self.assertGreaterEqual(delays[-1], 30.0)

    def test_a_first_delay_of_ones_own_is_kept(self) -> None:
        redial = Redial(5.0, 60.0, random=Random(1))
        self.assertGreaterEqual(redial.failed(0.0, refused=True), 2.5)
        self.assertGreaterEqual(redial.ended(0.0, 0.1, worked=True), 2.5)
