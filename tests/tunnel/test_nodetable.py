"""The newest session of a node is the one that serves it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.tunnel.messages import Hello
from superedge.tunnel.nodetable import NodeSession, NodeTable


class NodeTableTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.table = NodeTable()

    def session(self, node: str = "edge-1") -> NodeSession:
        return NodeSession(node, self.table.next_epoch(), Hello("1"), [])

    def test_a_newer_session_replaces_the_older(self) -> None:
        old, new = self.session(), self.session()
        self.assertGreater(new.epoch, old.epoch)
        self.assertIsNone(self.table.add(old))
        self.assertIs(self.table.add(new), old)
        self.assertIs(self.table.get("edge-1"), new)

    def test_the_older_one_ends_late(self) -> None:
        old, new = self.session(), self.session()
        self.table.add(old)
        self.table.add(new)
        self.table.remove(old)
        self.assertIs(self.table.get("edge-1"), new)
        self.table.remove(new)
        self.assertIsNone(self.table.get("edge-1"))

    def test_the_older_one_comes_late(self) -> None:
        old, new = self.session(), self.session()
        self.table.add(new)
        self.assertIs(self.table.add(old), old, "the older one is to be closed")
        self.assertIs(self.table.get("edge-1"), new)

    def test_nodes_do_not_touch_each_other(self) -> None:
        one, two = self.session("edge-1"), self.session("edge-2")
        self.table.add(one)
        self.table.add(two)
        self.table.remove(one)
        self.assertEqual(list(self.table), [two])
        self.assertEqual(len(self.table), 1)

    def test_sessions_may_end_while_one_walks_over_them(self) -> None:
        for number in range(3):
            self.table.add(self.session(f"edge-{number}"))
        for session in self.table:
            self.table.remove(session)
        self.assertEqual(len(self.table), 0)

    @given(st.permutations(range(5)), st.lists(st.integers(0, 4)))
    def test_in_any_order_the_newest_that_did_not_end_serves(self, order: list[int], ends: list[int]) -> None:
        table = NodeTable()
        sessions = [NodeSession("edge-1", table.next_epoch(), Hello("1"), []) for _ in range(5)]
        for index in order:
            table.add(sessions[index])
        for index in ends:
            table.remove(sessions[index])
        self.assertIs(table.get("edge-1"), None if 4 in ends else sessions[4])
