"""What is remembered of nodes is bounded, and two processes with one certificate are no restart."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from superedge.tunnel.nodehistory import MAX_GONE, GoneNode, NodeHistory


class NodeHistoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.history = NodeHistory()

    def leave(self, name: str) -> None:
        self.history.disconnected(GoneNode(name, "192.0.2.1:1", "1" * 1000, 1.0, 2.0, "x" * 1000))

    def test_gone_nodes_are_bounded(self) -> None:
        for number in range(MAX_GONE + 10):
            self.leave(f"edge-{number}")
            self.history.record_takeover(f"edge-{number}", "a", "b")
        self.assertEqual(len(self.history.gone), MAX_GONE)
        self.assertNotIn("edge-9", self.history.gone)
        kept = self.history.gone["edge-10"]
        self.assertEqual((len(kept.reason), len(kept.version)), (300, 300))
        self.assertEqual((len(self.history._errors), len(self.history._replaced)), (MAX_GONE, MAX_GONE))

    def test_a_node_that_comes_back_is_not_gone(self) -> None:
        self.leave("edge-1")
        self.history.connected("edge-1")
        self.assertEqual(list(self.history.gone), [])
        self.assertTrue(self.history.last_error("edge-1"))

    def test_two_that_replace_each_other_share_a_certificate(self) -> None:
        self.assertFalse(self.history.record_takeover("edge-1", "a", "b"), "the node restarted, perhaps")
        self.assertTrue(self.history.record_takeover("edge-1", "b", "a"))
        self.assertFalse(self.history.record_takeover("edge-2", "b", "a"))

    def test_restarts_and_reconnects_share_nothing(self) -> None:
        for before, now in (("a", "a"), ("a", "b"), ("b", "b"), ("b", "c"), ("", "c"), ("c", "")):
            self.assertFalse(self.history.record_takeover("edge-1", before, now))
