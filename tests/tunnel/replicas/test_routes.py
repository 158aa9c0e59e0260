"""Who holds a node, and who is dead."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.addresses import TCPAddress
from superedge.tunnel.epochs import EpochClock
from superedge.tunnel.replicas.records import Replica, Shard
from superedge.tunnel.replicas.routes import RouteTable

LEASE = 15


def replica(name: str, renewal: int = 0, **changes: object) -> Replica:
    made = Replica(name, f"{name}-1", str(renewal), LEASE, TCPAddress("192.0.2.1", 51002), ("192.0.2.1",))
    return replace(made, **changes)  # type: ignore[arg-type]


class RouteTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.epochs = EpochClock()
        self.table = RouteTable("own", LEASE, self.epochs)
        self.now = 0.0
        self.renewals = 0

    def renew(self, *names: str) -> None:
        """The Leases of these replicas come back renewed."""
        self.renewals += 1
        for name in names:
            self.table.lease_changed(name, replica(name, self.renewals), self.now)

    def hold(self, name: str, **nodes: int) -> list[str]:
        return self.table.shard_changed(f"{name}-0", Shard(name, nodes), self.now)

    def found(self, node: str) -> list[tuple[str, int]]:
        return [(route.replica.name, route.epoch) for route in self.table.routes(node)]

    def test_the_newest_session_comes_first(self) -> None:
        self.renew("b", "c")
        self.assertEqual(sorted(self.hold("b", x=5, y=6)), ["x", "y"])
        self.assertEqual(self.hold("c", x=7), ["x"])
        self.assertEqual(self.found("x"), [("c", 7), ("b", 5)])
        self.assertEqual(self.epochs.next(0), 8)

    def test_the_late_end_of_an_older_session(self) -> None:
        self.renew("b", "c")
        self.hold("b", x=5)
        self.hold("c", x=7)
        self.assertEqual(self.hold("b"), ["x"])
        self.assertEqual(self.found("x"), [("c", 7)])

    def test_a_node_that_moves_between_configmaps(self) -> None:
        self.renew("b")
        self.hold("b", x=5)
        self.table.shard_changed("b-1", Shard("b", {"x": 6}), self.now)
        self.hold("b")
        self.assertEqual(self.found("x"), [("b", 6)])
        self.assertEqual(self.table.shard_changed("b-1", None, self.now), ["x"])
        self.assertEqual((self.found("x"), self.table.nodes()), ([], []))

    def test_own_records_lead_nowhere(self) -> None:
        self.renew("own")
        self.assertEqual(self.hold("own", x=5), [])
        self.assertEqual(self.found("x"), [])

    def test_nodes_of_a_replica_without_a_lease(self) -> None:
        self.hold("b", x=5)
        self.assertEqual(self.found("x"), [])
        self.renew("b")
        self.assertEqual(self.found("x"), [("b", 5)])
        self.table.lease_changed("b", None, self.now)
        self.assertEqual(self.found("x"), [])

    def test_a_crash(self) -> None:
        self.renew("own", "b", "c")
        self.hold("b", x=5)
        expired = None
        while not self.table.dead():
            self.now += LEASE / 3
            self.renew("own", "c")
            if not self.found("x") and expired is None:
                expired = self.now
        self.assertEqual(expired, LEASE * 4 / 3)
        self.assertEqual(self.table.dead(), [("b", ["b-0"])])
        self.assertEqual([each.name for each in self.table.replicas()], ["c"])
        # It was only slow.
        self.renew("b")
        self.assertEqual((self.found("x"), self.table.dead()), ([("b", 5)], []))

    def test_nobody_dies_while_the_api_server_is_away(self) -> None:
        self.renew("own", "b", "c")
        self.hold("b", x=5)
        self.now += 1000
        self.assertEqual(self.found("x"), [("b", 5)])
        # It is back, and this replica is the first whose renewal it shows.
        self.renew("own")
        self.assertEqual(self.found("x"), [("b", 5)])
        self.now += LEASE / 3
        self.renew("own", "b")
        for _ in range(4):
            self.now += LEASE / 3
            self.renew("own", "b")
        self.assertEqual(self.found("x"), [("b", 5)])
        self.assertIsNone(self.table.live("c"))

    def test_a_clock_that_is_set_changes_nothing(self) -> None:
        for jump in (-5000, 5000):
            self.setUp()
            self.now = 10_000.0
            self.renew("own", "b", "c")
            self.hold("b", x=5)
            self.now += jump
            self.renew("own")
            self.assertEqual(self.found("x"), [("b", 5)])
            for _ in range(5):
                self.now += LEASE / 3
                self.renew("own", "b")
            self.assertEqual(self.found("x"), [("b", 5)])
            self.assertIsNone(self.table.live("c"), "the dead are still noticed in time")

    def test_what_a_dead_replica_left_without_a_lease(self) -> None:
        self.renew("own")
        self.hold("b", x=5)
        for _ in range(7):
            self.now += LEASE / 3
            self.renew("own")
        self.assertEqual(self.table.dead(), [("b", ["b-0"])])
        self.table.shard_changed("b-0", None, self.now)
        self.assertEqual(self.table.dead(), [])

    def test_nothing_is_kept_of_one_that_took_everything_back(self) -> None:
        self.renew("own", "b")
        self.hold("b", x=5, y=6)
        self.table.shard_changed("b-1", Shard("b", {"z": 7}), self.now)
        self.assertEqual((self.table.count("b"), self.table.count("c")), (3, 0))
        self.table.shard_changed("b-0", None, self.now)
        self.assertEqual(self.table.count("b"), 1)
        self.table.shard_changed("b-1", None, self.now)
        self.table.lease_changed("b", None, self.now)
        for _ in range(12):
            self.now += LEASE / 3
            self.renew("own")
        self.assertEqual((self.table.dead(), self.table.count("b")), ([], 0))

    @given(
        st.lists(
            st.tuples(
                st.sampled_from("bcd"), st.dictionaries(st.sampled_from("xyz"), st.integers(1, 9), max_size=3)
            ),
            max_size=20,
        )
    )
    def test_as_if_computed_anew(self, changes: list[tuple[str, dict[str, int]]]) -> None:
        """After any changes the table says what a look at the last ConfigMaps says."""
        self.setUp()
        self.renew("b", "c", "d")
        last: dict[str, dict[str, int]] = {}
        for name, nodes in changes:
            self.hold(name, **nodes)
            last[name] = nodes
        for node in "xyz":
            wanted = [(name, nodes[node]) for name, nodes in last.items() if node in nodes]
            self.assertEqual(self.found(node), sorted(wanted, key=lambda each: (-each[1], each[0])))
        self.assertEqual(set(self.table.nodes()), {node for nodes in last.values() for node in nodes})
