from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from superedge.kube.client import LEASES
from superedge.kube.errors import APIError, Unavailable
from superedge.kube.fencing import FencedClient
from superedge.kube.leaderelection import DEADLINE, DURATION, LeaderElection
from superedge.testing.inprocess import InProcessAPI


class LeaderElectionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.api = InProcessAPI(self.clock)
        self.successResultOf(self.create_namespace())
        self.events: list[str] = []

    def create_namespace(self) -> Deferred[bytes]:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cloud"}}
        made = Deferred.fromCoroutine(self.api.client().call("POST", "/api/v1/namespaces", body=body))
        self.clock.advance(0)
        self.clock.advance(0)
        return made

    def candidate(self, name: str, wall: float = 0.0) -> LeaderElection:
        election = LeaderElection(
            self.clock,
            self.api.client(),
            "cloud",
            "judge",
            name,
            lambda: self.events.append(f"{name} leads"),
            lambda: self.events.append(f"{name} stops"),
            lambda: self.clock.seconds() + wall,
        )
        election.startService()
        return election

    def run_for(self, seconds: float) -> None:
        for _ in range(int(seconds * 10)):
            self.clock.advance(0.1)

    def stop(self, election: LeaderElection) -> None:
        done: Any = Deferred.fromCoroutine(election.stopService())
        self.run_for(1)
        self.successResultOf(done)

    def test_one_leads(self) -> None:
        one, two = self.candidate("one"), self.candidate("two")
        self.run_for(60)
        self.assertEqual(self.events, ["one leads"])
        self.assertEqual((two.holder, one.leading, two.leading), ("one", True, False))

    def test_what_is_waited_for(self) -> None:
        one = self.candidate("one")
        self.assertEqual(one.waits_for(), "Lease judge")
        self.run_for(1)
        self.assertEqual(one.waits_for(), "")
        two = self.candidate("two")
        self.run_for(5)
        self.assertEqual(two.waits_for(), "")
        self.api.available = False
        self.run_for(60)
        self.assertEqual((one.waits_for(), two.waits_for()), ("", ""), "it says so at the start alone")

    def test_a_lease_of_the_dead_that_may_not_be_taken(self) -> None:
        dead = self.candidate("dead")
        self.run_for(1)
        self.assertTrue(dead.leading)
        dead._loop.stop()
        client = self.api.client()
        call = client.call

        async def call_or_refuse(method: str, *rest: Any, **more: Any) -> bytes:
            if method != "GET":
                raise APIError(403, "Forbidden", "may not update leases")
            return await call(method, *rest, **more)

        self.patch(client, "call", call_or_refuse)
        self.patch(self.api, "client", lambda: client)
        one = self.candidate("one")
        self.run_for(10)
        self.assertEqual(one.waits_for(), "", "the dead might live")
        self.run_for(10)
        self.assertEqual(one.waits_for(), "Lease judge: 403 Forbidden: may not update leases")

    def test_who_steps_down_is_followed_at_once(self) -> None:
        one = self.candidate("one")
        self.run_for(1)
        self.candidate("two")
        self.run_for(5)
        self.stop(one)
        self.run_for(3)
        self.assertEqual(self.events, ["one leads", "one stops", "two leads"])

    def test_who_dies_is_followed_after_the_lease(self) -> None:
        one = self.candidate("one")
        self.run_for(1)
        self.candidate("two", wall=-86400.0)
        self.run_for(3)
        one._loop.stop()
        self.run_for(DURATION - 5)
        self.assertEqual(self.events, ["one leads"])
        self.run_for(10)
        self.assertEqual(self.events, ["one leads", "two leads"])

    def test_who_cannot_renew_stops_before_another_may_begin(self) -> None:
        self.candidate("one")
        self.run_for(1)
        self.api.available = False
        self.run_for(DURATION - 4)
        self.assertEqual(self.events, ["one leads", "one stops"])
        self.api.available = True
        self.run_for(5)
        self.assertEqual(self.events, ["one leads", "one stops", "one leads"])

    def test_who_gets_no_answer_stops_as_soon(self) -> None:
        self.candidate("one")
        self.run_for(1)
        self.api.latency = 3600.0
        with capturedLogs() as logs:
            self.run_for(DEADLINE + 1)
        self.assertEqual(self.events, ["one leads", "one stops"])
        texts = [formatEvent(event) for event in logs]
        self.assertIn("Lease judge: the API server does not answer", texts)

    def test_who_was_paused_writes_nothing_before_it_has_renewed(self) -> None:
        one = self.candidate("one")
        client = FencedClient(self.api.client(), one.leads)
        self.run_for(1)
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "other"}}
        late: list[Deferred[bytes]] = []

        def write() -> None:
            late.append(Deferred.fromCoroutine(client.call("POST", LEASES.path("cloud"), body=lease)))

        self.clock.callLater(1, write)  # due while the process is stopped
        self.clock.advance(DURATION)
        self.failureResultOf(late[0], Unavailable)
        self.run_for(3)
        write()
        self.run_for(1)
        self.successResultOf(late[1])

    def test_a_renewal_counts_from_its_request(self) -> None:
        one = self.candidate("one")
        self.api.latency = 0.5
        for _ in range(32):  # all parts of a round
            self.run_for(12.1)
            self.assertTrue(one.leads())
            self.clock.advance(DURATION)
            self.assertFalse(one.leads())

    def test_a_lease_that_was_taken_away(self) -> None:
        self.candidate("one")
        self.run_for(1)
        path = LEASES.path("cloud", "judge")
        done = Deferred.fromCoroutine(self.api.client().call("DELETE", path))
        self.run_for(3)
        self.successResultOf(done)
        self.assertEqual(self.events, ["one leads"])

    def test_an_error_that_nobody_expected_does_not_end_the_election(self) -> None:
        one = self.candidate("one")
        self.run_for(1)
        broken = True
        attempt = one._try

        async def try_() -> bool:
            if broken:
                raise OSError(24, "Too many open files")
            return await attempt()

        self.patch(one, "_try", try_)
        self.run_for(DEADLINE + 1)
        self.assertEqual(self.events, ["one leads", "one stops"])
        broken = False
        self.run_for(5)
        self.assertEqual(self.events, ["one leads", "one stops", "one leads"])

    def test_who_cannot_begin_leads_later(self) -> None:
        one = self.candidate("one")
        problems = [OSError(24, "Too many open files")]

        def started() -> None:
            self.events.append("begins")
            if problems:
                raise problems.pop()

        self.patch(one, "_started", started)
        self.run_for(5)
        self.assertEqual(self.events, ["begins", "one stops", "begins"])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
