"""Node names from certificates and from callers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.net.names import strip_suffix
from superedge.tunnel.names import NameRules, NotANode, node_of_common_name


class NameTests(SynchronousTestCase):
    def test_common_names(self) -> None:
        for common_name, node in (
            ("edge-1", "edge-1"),
            ("system:node:edge-1", "edge-1"),
            ("shop-17.berlin.example", "shop-17.berlin.example"),
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


class RuleTests(SynchronousTestCase):
    """What makes a certificate a node's."""

    def refuses(self, rules: NameRules, name: str | None, *organizations: str) -> str:
        return str(self.assertRaises(NotANode, rules.node_of, name, organizations))

    def test_names_that_are_addresses(self) -> None:
        names = (
            "10.96.0.1",
            "10.1",
            "10",
            "0x7f.1",
            "0x7f000001",
            "0177.0.0.1",
            "2130706433",
            "1.2.3.4.5",
            "a.0x",
        )
        for name in names:
            self.assertIn("no node may be called", self.refuses(NameRules(), name), name)
            self.assertIn("no node may be called", self.refuses(NameRules(), f"system:node:{name}"), name)
        for name in ("::1", "2001:db8::1", "[::1]", "::ffff:10.96.0.1"):
            self.assertIn("no node's certificate", self.refuses(NameRules(), name), name)
        for name in ("edge-1", "1a", "10-96-0-1", "0x7f.edge", "10.edge", "0xg"):
            self.assertEqual(NameRules().node_of(name, ()), name)

    def test_names_of_the_cluster(self) -> None:
        rules = NameRules(cluster_domain="Shop.Local.")
        for name in (
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "web.shop.svc.other",
            "shop.local",
            "kubernetes.default.svc.shop.local",
            "anything.shop.local",
            "localhost",
            "a.localhost",
        ):
            self.assertIn("no node may be called", self.refuses(rules, name), name)
        for name in ("edge-1", "svc", "svc.example", "myshop.local", "kubernetes-1", "x.cluster.local"):
            self.assertEqual(rules.node_of(name, ()), name)
        self.assertEqual(NameRules(reserved=()).node_of("web.shop.svc", ()), "web.shop.svc")

    def test_where_the_ca_signs_users_as_well(self) -> None:
        strict = NameRules(strict=True)
        self.assertEqual(strict.node_of("system:node:edge-1", {"system:nodes", "x"}), "edge-1")
        for name, organizations in (
            ("alice", ()),
            ("alice", ("system:nodes",)),
            ("system:node:edge-1", ()),
            ("system:node:edge-1", ("system:masters",)),
        ):
            self.assertIn("node_certificates", self.refuses(strict, name, *organizations))
        self.assertEqual(NameRules().node_of("alice", ()), "alice")
