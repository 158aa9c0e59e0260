"""Node names from certificates and from callers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.net.names import strip_suffix
from superedge.tunnel.names import node_of_common_name


class NameTests(SynchronousTestCase):
    def test_common_names(self) -> None:
        for common_name, node in (
            ("edge-1", "edge-1"),
            ("system:node:edge-1", "edge-1"),
            ("shop-17.berlin.example", "shop-17.berlin.example"),
            ("10.0.0.5", "10.0.0.5"),
            (None, None),
            ("", None),
            ("system:node:", None),
            ("system:admin", None),
            ("system:node:system:node:edge-1", None),
            ("Edge-1", None),
            ("edge_1", None),
            ("-edge", None),
            ("edge.", None),
            ("edge-1\n", None),
            ("edge/1", None),
            ("x" * 64, None),
            (".".join(["x" * 63] * 4), None),
        ):
            self.assertEqual(node_of_common_name(common_name), node, common_name)

    @given(st.text(max_size=30))
    def test_a_name_is_never_changed(self, common_name: str) -> None:
        self.assertIn(node_of_common_name(common_name), (None, common_name.removeprefix("system:node:")))

    def test_suffixes(self) -> None:
        suffixes = [".edge.example", "Nodes.example."]
        for host, names in (
            ("edge-1", ["edge-1"]),
            ("EDGE-1", ["edge-1"]),
            ("edge-1.", ["edge-1"]),
            ("edge-1.edge.example", ["edge-1.edge.example", "edge-1"]),
            ("edge-1.Edge.Example.", ["edge-1.edge.example", "edge-1"]),
            ("a.b.nodes.example", ["a.b.nodes.example", "a.b"]),
            ("edge-1.other.example", ["edge-1.other.example"]),
            ("edge-1edge.example", ["edge-1edge.example"]),
            (".edge.example", [".edge.example"]),
            ("edge.example", ["edge.example"]),
        ):
            self.assertEqual(strip_suffix(host, suffixes), names, host)
