"""The table of allocations: who keeps what, and for how long."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from superedge.netsnapshot.ipam.addresses import Range
from superedge.netsnapshot.ipam.allocation import Attachment, Table
from superedge.netsnapshot.ipam.configuration import range_sets
from superedge.netsnapshot.ipam.errors import IPAMError
from superedge.netsnapshot.ipam.records import Moment, Record

NOW = Moment(1000, "boot-1", 100)


def sets(*subnets: str) -> list[list[Range]]:
    return range_sets({"ipam": {"ranges": [[{"subnet": each}] for each in subnets]}})


def pod(name: str, container: str, uid: str = "u") -> Attachment:
    return Attachment(container, "eth0", "default", name, uid)


class TableTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.table = Table()
        self.sets = sets("10.0.0.0/29")  # .2 to .6

    def add(self, who: Attachment, *requested: str, keep: bool = False) -> list[str]:
        return [address for address, _ in self.table.add(who, self.sets, list(requested), keep, NOW)]

    def delete(self, container: str, now: Moment = NOW) -> None:
        record = self.table.attached(container, "eth0")
        assert record is not None
        self.table.detach(record, now)

    def test_a_pod_keeps_its_addresses_whatever_its_sandbox(self) -> None:
        self.sets = sets("10.0.0.0/29", "fd00::/64")
        first = self.add(pod("a", "c1"))
        self.assertEqual(first, ["10.0.0.2", "fd00::2"])
        self.delete("c1")
        self.assertEqual(self.add(pod("b", "c2")), ["10.0.0.3", "fd00::3"])
        self.assertEqual(self.add(pod("a", "c3")), first)
        # The new sandbox came before the old one's DEL.
        self.assertEqual(self.add(pod("a", "c4")), first)
        self.assertIsNone(self.table.attached("c3", "eth0"))

    def test_each_interface_of_a_pod_has_addresses_of_its_own(self) -> None:
        first = self.add(pod("a", "c1"))
        second = self.add(Attachment("c1", "net1", "default", "a", "u"))
        self.assertNotEqual(first, second)
        self.assertEqual(self.add(Attachment("c2", "net1", "default", "a", "u")), second)

    def test_another_uid_is_another_pod(self) -> None:
        first = self.add(pod("a", "c1", "u1"))
        self.delete("c1")
        self.assertNotEqual(self.add(pod("a", "c2", "u2")), first)
        self.assertEqual([each.uid for each in self.table.records], ["u2"])

    def test_another_uid_inherits_by_name_when_configured(self) -> None:
        first = self.add(pod("a", "c1", "u1"), keep=True)
        self.delete("c1")
        self.assertEqual(self.add(pod("a", "c2", "u2"), keep=True), first)

    def test_nobody_inherits_what_is_still_attached(self) -> None:
        first = self.add(pod("a", "c1", "u1"), keep=True)
        second = self.add(pod("a", "c2", "u2"), keep=True)
        self.assertNotEqual(first, second)
        self.delete("c1")
        self.assertEqual(self.add(pod("a", "c3", "u2"), keep=True), second)

    def test_of_two_records_of_a_pod_the_exact_uid_counts(self) -> None:
        self.add(pod("a", "c1", "u1"))
        mine = self.add(pod("a", "c2", "u2"))
        self.table.records[0].uid = ""
        self.assertEqual(self.add(pod("a", "c3", "u2")), mine)

    def test_without_a_uid_the_name_counts(self) -> None:
        first = self.add(pod("a", "c1", ""))
        self.delete("c1")
        self.assertEqual(self.add(pod("a", "c2", "u2")), first)
        self.delete("c2")
        self.assertEqual(self.add(pod("a", "c3", "")), first)
        self.assertEqual(self.table.records[0].uid, "u2")

    def test_a_reserved_address_is_given_away_last_and_the_oldest_first(self) -> None:
        for number in range(3):
            self.add(pod(f"p{number}", f"c{number}"))
        for number in (1, 0, 2):
            self.delete(f"c{number}", Moment(1000 - number, "boot-1", 100))  # the clock goes back
        self.assertEqual(self.add(pod("x", "x")), ["10.0.0.5"])
        self.assertEqual(self.add(pod("y", "y")), ["10.0.0.6"])
        self.assertEqual(self.add(pod("z", "z")), ["10.0.0.3"])
        self.assertEqual(self.add(pod("p0", "again")), ["10.0.0.2"])
        self.assertEqual(self.add(pod("p1", "again1")), ["10.0.0.4"])
        self.assertFalse(self.table.can_add(self.sets))
        problem = self.assertRaises(IPAMError, self.add, pod("q", "q"))
        self.assertEqual((problem.code, str(problem)), (11, "no address is free in 10.0.0.1-10.0.0.6"))

    def test_a_pod_that_lost_one_family_keeps_the_other(self) -> None:
        self.sets = sets("10.0.0.0/30", "fd00::/64")
        self.assertEqual(self.add(pod("a", "c1")), ["10.0.0.2", "fd00::2"])
        self.delete("c1")
        self.assertEqual(self.add(pod("b", "c2")), ["10.0.0.2", "fd00::3"])
        self.delete("c2")
        self.assertEqual(self.add(pod("a", "c3")), ["10.0.0.2", "fd00::2"])

    def test_time_limits_count_uptime(self) -> None:
        self.add(pod("a", "c1"))
        self.add(pod("b", "c2"))
        self.delete("c1", Moment(50, "boot-1", 100))
        # The clock was wrong after the power cut, and is then set.
        self.assertFalse(self.table.expire(60, Moment(10**9, "boot-1", 159)))
        # After another boot it counts from that boot on.
        self.assertFalse(self.table.expire(60, Moment(10**9, "boot-2", 59)))
        self.assertTrue(self.table.expire(60, Moment(0, "boot-2", 60)))
        self.assertEqual([each.pod for each in self.table.records], ["b"])

    def test_release_ends_what_is_reserved_for_that_pod(self) -> None:
        def release(uid: str = "", kept: bool = False, attached: bool = False) -> int:
            return len(self.table.release("default", "a", uid, kept, attached))

        self.add(pod("a", "c1", "u1"))
        self.add(pod("b", "c2", "u2"))
        self.assertEqual(release(), 0)
        self.delete("c1")
        self.assertEqual((release("other"), release("u1"), release("u1")), (0, 1, 0))
        self.add(pod("a", "c3", "u1"), keep=True)
        self.delete("c3")
        self.assertEqual((release("u1"), release("u1", kept=True)), (0, 1))
        self.add(pod("a", "c4", "u1"))
        self.assertEqual((release(kept=True), release(attached=True)), (0, 1))
        self.assertEqual([each.pod for each in self.table.records], ["b"])

    def test_requested_addresses(self) -> None:
        self.assertEqual(self.add(pod("a", "c1"), "10.0.0.5"), ["10.0.0.5"])
        self.assertEqual(self.add(pod("a", "c1"), "10.0.0.5"), ["10.0.0.5"])
        self.assertEqual(self.add(pod("a", "c1"), "10.0.0.4"), ["10.0.0.4"])
        self.delete("c1")
        for address, text in (
            ("10.0.0.4", "requested address 10.0.0.4 is reserved for pod default/a"),
            ("10.0.0.1", "requested address 10.0.0.1 is the gateway or excluded"),
            ("10.0.1.1", "requested address 10.0.1.1 is in none of the network's ranges"),
        ):
            problem = self.assertRaises(IPAMError, self.add, pod("b", "c2"), address)
            self.assertEqual(str(problem), text)

    def test_without_a_pod_it_does_as_host_local(self) -> None:
        self.assertEqual(self.add(Attachment("c1", "eth0")), ["10.0.0.2"])
        problem = self.assertRaises(IPAMError, self.add, Attachment("c1", "eth0"))
        self.assertEqual(str(problem), "container c1 has 10.0.0.2 on eth0 already")
        self.delete("c1")
        self.assertEqual(self.table.records, [])
        self.assertEqual(self.add(Attachment("c2", "eth0")), ["10.0.0.3"])

    def test_when_the_ranges_change_a_pod_gets_a_new_address(self) -> None:
        self.add(pod("a", "c1"))
        self.delete("c1")
        self.sets = sets("10.9.0.0/29")
        self.assertEqual(self.add(pod("a", "c2")), ["10.9.0.2"])
        self.assertEqual(self.table.taken(), {"10.9.0.2"})


NAMES = st.sampled_from("abcdef")


class AllocatorMachine(RuleBasedStateMachine):
    """Pods come, go and return, with a range that is too small for all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Table()
        self.sets = sets("10.0.0.0/29", "fd00::/125")
        self.running: dict[str, tuple[str, tuple[str, ...]]] = {}
        self.count = 0

    def records(self) -> list[Record]:
        """What would be on disk; the table's own stay lines until a method asks for them."""
        return Table(self.table.lines()).records

    @rule()
    def write_and_read(self) -> None:
        self.table = Table(self.table.lines(), self.table.last)

    @rule(name=NAMES, uid=st.sampled_from(["u1", "u2", ""]), keep=st.booleans())
    def add(self, name: str, uid: str, keep: bool) -> None:
        self.count += 1
        container = f"c{self.count}"
        before, kept = self.table.taken(), Table(self.table.lines(), self.table.last)
        reserved = {address for each in self.records() if not each.container for address in each.addresses}
        own = {address for each in self.records() if each.pod == name for address in each.addresses}
        try:
            chosen = self.table.add(pod(name, container, uid), self.sets, [], keep, NOW)
        except IPAMError:
            self.table = kept
            assert not self.table.can_add(self.sets)
            return
        found = tuple(address for address, _ in chosen)
        for address, pool in zip(found, (5, 6), strict=True):
            family = [each for each in before if (":" in each) == (":" in address)]
            if address in reserved - own:
                assert len(family) == pool, "a reserved address was given away while others were free"
        # Another uid runs beside the former instance until that is deleted.
        for other, (_, addresses) in self.running.items():
            if self.table.attached(other, "eth0") is not None:
                assert not set(addresses) & set(found) or other == container
        self.running[container] = (name, found)

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        attached = [each.container for each in self.records() if each.container]
        if attached:
            record = self.table.attached(data.draw(st.sampled_from(attached)), "eth0")
            assert record is not None
            self.table.detach(record, NOW)

    @rule(name=NAMES, uid=st.sampled_from(["u1", "u2", ""]))
    def release(self, name: str, uid: str) -> None:
        self.table.release("default", name, uid, True, False)

    @rule(limit=st.sampled_from([0, 1000]))
    def expire(self, limit: int) -> None:
        self.table.expire(limit, NOW)

    @invariant()
    def no_address_has_two_holders(self) -> None:
        every = [address for each in self.records() for address in each.addresses]
        assert len(every) == len(set(every)), every
        assert self.table.taken() == set(every)
        containers = [each.container for each in self.records() if each.container]
        assert len(containers) == len(set(containers))
        assert all(each.addresses for each in self.records())


class StatefulTests(SynchronousTestCase):
    def test_no_address_ever_has_two_holders(self) -> None:
        run_state_machine_as_test(
            AllocatorMachine, settings=settings(max_examples=40, stateful_step_count=40, deadline=None)
        )
