from __future__ import annotations

import json
from ipaddress import ip_network
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.kube.errors import DecodeError
from superedge.kube.nodes import Node, NodeIndex, read_node


def made(name: str, *addresses: str, pods: tuple[str, ...] = ()) -> Node:
    item: dict[str, Any] = {
        "metadata": {"name": name},
        "spec": {"podCIDRs": list(pods)},
        "status": {"addresses": [{"type": "InternalIP", "address": text} for text in addresses]},
    }
    return read_node(json.dumps(item).encode())


class NodeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.index = NodeIndex()
        self.index.put(
            made("edge-1", "edge-1", "192.0.2.1", "2001:DB8::1", pods=("10.64.1.0/24", "fd00:1::/64"))
        )
        self.index.put(made("edge-2", "192.0.2.2", pods=("10.64.2.0/24",)))

    def test_addresses(self) -> None:
        self.assertEqual(self.index.addresses("edge-1"), ("192.0.2.1", "2001:db8::1"))
        self.assertIsNone(self.index.addresses("edge-9"))
        self.assertEqual(self.index.by_address("192.0.2.1"), "edge-1")
        self.assertEqual(self.index.by_address("2001:db8:0::1"), "edge-1")
        self.assertEqual(self.index.by_address("::ffff:192.0.2.2"), "edge-2")
        self.assertIsNone(self.index.by_address("192.0.2.3"))

    def test_pods(self) -> None:
        self.assertEqual(self.index.by_pod_address("10.64.2.200"), "edge-2")
        self.assertEqual(self.index.by_pod_address("fd00:1::7"), "edge-1")
        self.assertIsNone(self.index.by_pod_address("10.64.3.1"))
        self.index.put(made("wide", pods=("10.64.0.0/16",)))
        self.assertEqual(self.index.by_pod_address("10.64.3.1"), "wide")
        self.assertEqual(self.index.by_pod_address("10.64.2.1"), "edge-2")

    def test_what_two_nodes_claim_is_neithers(self) -> None:
        self.index.put(made("edge-3", "192.0.2.2", pods=("10.64.2.0/24",)))
        self.assertIsNone(self.index.by_address("192.0.2.2"))
        self.assertIsNone(self.index.by_pod_address("10.64.2.1"))
        self.index.remove("edge-2")
        self.assertEqual(self.index.by_address("192.0.2.2"), "edge-3")
        self.assertEqual(self.index.by_pod_address("10.64.2.1"), "edge-3")

    def test_changes(self) -> None:
        self.index.put(made("edge-1", "192.0.2.9"))
        self.assertIsNone(self.index.by_address("192.0.2.1"))
        self.assertIsNone(self.index.by_pod_address("10.64.1.1"))
        self.index.remove("edge-1")
        self.index.remove("edge-1")
        self.assertIsNone(self.index.by_address("192.0.2.9"))

    def test_nonsense_in_an_object(self) -> None:
        item = {"metadata": {"name": "X"}, "spec": {"podCIDR": "10.0.0.1/8"}, "status": {"addresses": [{}]}}
        self.assertEqual(read_node(json.dumps(item).encode()), Node("x", (), ()))
        self.assertRaises(DecodeError, read_node, b"{}")

    @given(
        st.lists(
            st.tuples(
                st.sampled_from("abc"),
                st.none()
                | st.lists(st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "10.1.1.0/24"]), unique=True),
            )
        )
    )
    def test_as_a_look_at_every_node_says(self, changes: list[tuple[str, list[str] | None]]) -> None:
        index, nodes = NodeIndex(), dict[str, list[str]]()
        for name, networks in changes:
            if networks is None:
                index.remove(name)
                nodes.pop(name, None)
            else:
                index.put(Node(name, (), tuple(map(ip_network, networks))))
                nodes[name] = networks
        claims = [(ip_network(text).prefixlen, name) for name, held in nodes.items() for text in held]
        longest = max((length for length, _ in claims), default=0)
        owners = {name for length, name in claims if length == longest}
        self.assertEqual(index.by_pod_address("10.1.1.1"), owners.pop() if len(owners) == 1 else None)
