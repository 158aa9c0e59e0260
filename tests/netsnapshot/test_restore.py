"""What happens while a restore runs: agents that come at the same time, devices that come later."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from superedge.errors import SuperEdgeError
from superedge.netsnapshot import restore
from superedge.netsnapshot.facts import Facts, Link
from superedge.netsnapshot.plan import Plan, make_plan
from superedge.netsnapshot.requests import Refusal
from superedge.netsnapshot.restore import Outcome, repeat
from tests.netsnapshot.examples import BRIDGE, ENTRY, FACTS, FLANNEL, HOST, ROUTE
from tests.netsnapshot.test_plan import WHOLE, merged


class Kernel:
    """Has the network ``facts``; ``meanwhile`` is what agents make before the first request arrives."""

    def __init__(self, meanwhile: Facts, *refusals: Refusal) -> None:
        self.facts = HOST
        self.meanwhile = meanwhile
        self.refusals = refusals
        self.applied: Plan | None = None

    def plan(self) -> Plan:
        return make_plan(FACTS, self.facts, {}, {})

    def create(self, links: Sequence[Link]) -> Iterator[Refusal]:
        self.facts = merged(self.facts, self.meanwhile)
        there = {each.name for each in self.facts.links}
        for link in links:
            if link.name in there:
                yield Refusal(f"device {link.name}", "the kernel refused it: File exists", errno.EEXIST)
        self.facts = merged(self.facts, Facts(tuple(each for each in links if each.name not in there)))

    def apply(self, plan: Plan) -> Iterator[Refusal]:
        self.applied = plan
        yield from self.refusals


class RestoreTests(SynchronousTestCase):
    def restore(self, kernel: Any) -> Outcome:
        outcome = Outcome(kernel.plan())
        restore._apply(outcome, kernel, kernel.plan)
        return outcome

    def test_nothing_is_put_on_a_device_that_an_agent_makes_in_another_way_at_the_same_time(self) -> None:
        kernel = Kernel(Facts((msgspec.structs.replace(FLANNEL, address="4e:00:00:00:00:99"),)))
        outcome = self.restore(kernel)
        assert kernel.applied is not None
        self.assertNotIn(ENTRY, kernel.applied.fdb)
        self.assertNotIn(ROUTE, kernel.applied.routes)
        self.assertEqual(
            outcome.plan.left,
            ["device flannel.1 is there with address 4e:00:00:00:00:99, not 4e:00:00:00:00:03"],
        )
        self.assertEqual((outcome.plan.create, outcome.failed, outcome.plan.there), ([BRIDGE], [], 0))

    def test_a_device_that_an_agent_makes_in_the_same_way_gets_the_rest(self) -> None:
        outcome = self.restore(Kernel(Facts((FLANNEL,))))
        self.assertEqual((outcome.plan.create, outcome.plan.there, outcome.failed), ([BRIDGE], 1, []))
        self.assertEqual(len(outcome.plan), WHOLE - 1)

    def test_what_an_agent_makes_last_is_left(self) -> None:
        refused = "the kernel refused it"
        outcome = self.restore(
            Kernel(
                Facts(),
                Refusal("route 10.244.4.0/24", f"{refused}: File exists", errno.EEXIST),
                Refusal("route 10.244.5.0/24", f"{refused}: Network is unreachable", errno.ENETUNREACH),
            )
        )
        self.assertEqual(outcome.overtaken, ["route 10.244.4.0/24 was made at the same time"])
        self.assertEqual(outcome.failed, [f"route 10.244.5.0/24: {refused}: Network is unreachable"])
        self.assertTrue(outcome.temporary)
        self.assertEqual(len(outcome.plan), WHOLE)

    def test_a_user_who_may_not_is_told_once(self) -> None:
        refusals = [Refusal(f"route 10.0.{each}.0/24", "no", errno.EPERM) for each in range(9)]
        problem = self.assertRaises(SuperEdgeError, self.restore, Kernel(Facts(), *refusals))
        self.assertEqual(str(problem), "the network cannot be changed: that takes root, or CAP_NET_ADMIN")

    def test_a_file_that_an_agent_writes_at_the_same_time_is_left(self) -> None:
        path = Path(self.mktemp()) / "subnet.env"
        path.parent.mkdir(parents=True)
        path.write_text("theirs\n")
        outcome = Outcome(Plan(files={str(path): "ours\n"}))
        restore._write_files(outcome)
        self.assertEqual(outcome.overtaken, [f"{path} was written at the same time"])
        self.assertEqual([each.read_text() for each in path.parent.iterdir()], ["theirs\n"])


class RepeatTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 100.0
        self.patch(restore, "time", self)
        self.outcomes: list[Outcome] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def attempt(self) -> Outcome:
        return self.outcomes.pop(0)

    def test_what_waits_for_a_device_is_tried_again(self) -> None:
        missing = "device flannel.1: there is no device eth0"
        self.outcomes = [Outcome(Plan(create=[FLANNEL]), failed=[missing], temporary=True) for _ in range(2)]
        self.outcomes.append(Outcome(Plan(left=["x is left"])))
        outcome = repeat(self.attempt, self.now + 30)
        self.assertEqual((outcome.plan.create, outcome.plan.left), ([FLANNEL], ["x is left"]))
        self.assertEqual((outcome.failed, outcome.temporary, self.now), ([], False, 102.0))

    def test_no_longer_than_it_is_told_to(self) -> None:
        self.outcomes = [
            Outcome(Plan(), failed=["there is no device eth0"], temporary=True) for _ in range(100)
        ]
        self.assertEqual(repeat(self.attempt, self.now + 30).failed, ["there is no device eth0"])
        self.assertEqual(self.now, 130.0)
        repeat(self.attempt, self.now)
        self.assertEqual(self.now, 130.0)

    def test_what_the_kernel_does_not_have_is_not_waited_for(self) -> None:
        self.outcomes = [Outcome(Plan(), failed=["device vx: Operation not supported"])]
        self.assertEqual(len(repeat(self.attempt, self.now + 30).failed), 1)
