from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.liteapiserver.upstream.health import Health, ProbeReport, ProbeResult

READY, ANSWERING, FAILED = ProbeResult.READY, ProbeResult.ANSWERING, ProbeResult.FAILED


class HealthTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.probes: list[Deferred[ProbeResult]] = []
        self.changes: list[str] = []
        self.health = Health(self.clock, self.probe, 5.0)
        self.health.on_offline = lambda: self.changes.append("offline")
        self.health.on_online = lambda: self.changes.append("online")
        self.health.start()
        self.addCleanup(self.health.stop)

    async def probe(self) -> ProbeReport:
        waiting: Deferred[ProbeResult] = Deferred()
        self.probes.append(waiting)
        result = await waiting
        return ProbeReport(result, *(("refused", "nobody is there") if result is FAILED else ()))

    def answer(self, *results: ProbeResult) -> None:
        """Results of the probes that are asked next; time passes until each is."""
        for result in results:
            for _ in range(100):
                if self.probes:
                    break
                self.clock.advance(0.1)
            self.probes.pop().callback(result)

    def test_requests_go_out_before_anything_is_known(self) -> None:
        self.assertTrue(self.health.online)
        self.answer(READY)
        self.assertEqual((self.health.state, self.health.online), ("online", True))
        self.assertEqual(self.changes, [])

    def test_a_boot_without_cloud(self) -> None:
        self.answer(FAILED)
        self.assertEqual(self.health.state, "offline")
        self.assertEqual(self.changes, ["offline"])

    def test_a_boot_with_a_cloud_that_is_not_ready(self) -> None:
        self.answer(ANSWERING)
        self.assertEqual(self.health.state, "offline")

    def test_a_failure_is_confirmed_at_once(self) -> None:
        self.answer(READY)
        self.health.request_failed("refused")
        self.assertEqual((self.health.state, self.health.online), ("suspect", True))
        self.assertEqual(len(self.probes), 1)
        self.answer(FAILED)
        self.assertEqual((self.health.state, self.health.online), ("offline", False))

    def test_a_failure_of_one_connection_is_no_outage(self) -> None:
        self.answer(READY)
        self.health.request_failed("closed")
        self.answer(READY)
        self.assertEqual(self.health.state, "online")
        self.health.request_failed("closed")
        self.answer(ANSWERING)
        self.assertEqual(self.health.state, "online")
        self.assertEqual(self.changes, [])

    def test_it_is_settled_once_a_probe_that_began_since_the_last_failure_was_good(self) -> None:
        settled = [self.health.is_settled]
        self.answer(READY)
        settled.append(self.health.is_settled)
        self.health.probe_soon()
        settled.append(self.health.is_settled)
        self.health.request_failed("closed")  # while the probe is under way
        self.answer(READY)
        settled.append(self.health.is_settled)
        for result in (READY, ANSWERING, READY):
            self.answer(result)
            settled.append(self.health.is_settled)
        self.assertEqual(settled, [False, True, False, False, True, False, True])

    def test_two_failed_probes_without_any_request(self) -> None:
        self.answer(READY, FAILED)
        self.assertEqual(self.health.state, "suspect")
        self.answer(FAILED)
        self.assertEqual(self.health.state, "offline")

    def test_two_good_probes_end_it(self) -> None:
        self.answer(FAILED, READY)
        self.assertEqual((self.health.state, self.health.online), ("recovering", False))
        self.answer(READY)
        self.assertEqual((self.health.state, self.health.online), ("online", True))
        self.assertEqual(self.changes, ["offline", "online"])

    def test_a_cloud_that_flaps(self) -> None:
        self.answer(FAILED, READY, FAILED, READY, ANSWERING, FAILED, READY, READY)
        self.assertEqual(self.changes, ["offline", "online"])

    def test_nothing_is_probed_while_requests_are_answered(self) -> None:
        self.answer(READY)
        for _ in range(20):
            self.health.request_answered()
            self.clock.advance(2.0)
        self.assertEqual(self.probes, [])
        self.clock.advance(5.0)
        self.assertEqual(len(self.probes), 1)

    def test_a_slow_request_is_a_reason_to_probe(self) -> None:
        self.answer(READY)
        self.health.probe_soon()
        self.assertEqual(len(self.probes), 1)
        self.health.probe_soon()
        self.assertEqual(len(self.probes), 1)

    def test_a_slow_request_and_a_failed_probe_are_an_outage(self) -> None:
        self.answer(READY)
        self.clock.advance(1.0)
        self.health.request_slow(self.clock.seconds())
        self.answer(FAILED)
        self.assertEqual(self.changes, ["offline"])

    def test_a_slow_request_is_a_reason_for_one_probe(self) -> None:
        self.answer(READY)
        self.clock.advance(1.0)
        slow_since = self.clock.seconds()
        self.health.request_slow(slow_since)
        self.answer(READY)
        self.clock.advance(0.25)
        self.health.request_slow(slow_since)
        self.assertEqual(self.probes, [])
        self.health.request_slow(self.clock.seconds())  # another
        self.assertEqual(len(self.probes), 1)

    def test_a_request_that_becomes_slow_while_a_probe_is_out(self) -> None:
        self.answer(READY)
        self.clock.advance(5.0)
        self.clock.advance(1.0)
        self.health.request_slow(self.clock.seconds())
        self.answer(FAILED)
        self.assertEqual(self.changes, ["offline"])

    def test_an_answer_while_a_probe_is_out_is_proof_enough(self) -> None:
        self.answer(READY)
        self.health.request_failed("x")
        self.clock.advance(0.5)
        self.health.request_answered()
        self.answer(FAILED)
        self.assertEqual(self.health.state, "online")

    def test_an_answer_to_another_request_is_no_success_of_the_probe(self) -> None:
        """It proves no new connection, so what waits for such a proof goes on waiting."""
        successes: list[str] = []
        self.health.on_probe_success = lambda: successes.append(self.health.state)
        self.answer(READY)
        self.health.request_failed("closed")
        self.clock.advance(0.1)
        self.health.request_answered()
        self.answer(FAILED)
        self.assertEqual((self.health.state, successes), ("online", ["online"]))
        self.answer(READY)
        self.assertEqual(successes, ["online", "online"])

    def test_doubts_do_not_hurry_probes_while_offline(self) -> None:
        self.answer(FAILED)
        self.health.request_failed("x")
        self.health.probe_soon()
        self.assertEqual(self.probes, [])

    def test_stopping(self) -> None:
        self.answer(READY)
        self.health.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
