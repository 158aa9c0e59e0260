"""Whose an address is, when nodes themselves say so."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.kube.errors import DecodeError
from superedge.kube.nodes import MAX_ADDRESSES, MAX_NETWORKS, Node, NodeIndex, Ranges, RefusedClaim, read_node

RANGES = Ranges(
    ["192.0.2.0/24", "2001:db8::/32", "10.0.0.0/8"],
    ["10.64.0.0/16", "fd00::/16"],
    ["10.96.0.0/12", "192.0.2.250"],
)


def made(name: str, *addresses: str, pods: tuple[str, ...] = (), created: int = 0, uid: str = "") -> Node:
    item: dict[str, Any] = {
        "metadata": {
            "name": name,
            "creationTimestamp": f"2026-01-01T00:00:{created:02}Z",
            "uid": uid or name,
        },
        "spec": {"podCIDRs": list(pods)},
        "status": {"addresses": [{"type": "InternalIP", "address": text} for text in addresses]},
    }
    return read_node(json.dumps(item).encode())


class NodeCase(SynchronousTestCase):
    """Two nodes, there from the start."""

    def setUp(self) -> None:
        self.refused: list[RefusedClaim] = []
        self.index = NodeIndex(RANGES, self.refused.append)
        self.index.put(
            made("edge-1", "edge-1", "192.0.2.1", "2001:DB8::1", pods=("10.64.1.0/24", "fd00:1::/64"))
        )
        self.index.put(made("edge-2", "192.0.2.2", pods=("10.64.2.0/24",)))
        self.index.settle()

    def own(self, host: str) -> str | None:
        """The node that has the address of its own."""
        claim = self.index.holder(host)
        return None if claim is None or claim.of_pods else claim.node

    def pods(self, host: str) -> str | None:
        claim = self.index.holder(host)
        return None if claim is None or not claim.of_pods else claim.node


class NodeTests(NodeCase):
    def test_addresses(self) -> None:
        self.assertEqual(self.index.addresses("edge-1"), ["192.0.2.1", "2001:db8::1"])
        self.assertIsNone(self.index.addresses("edge-9"))
        self.assertEqual(self.own("192.0.2.1"), "edge-1")
        self.assertEqual(self.own("2001:db8:0::1"), "edge-1")
        self.assertEqual(self.own("::ffff:192.0.2.2"), "edge-2")
        self.assertIsNone(self.own("192.0.2.3"))

    def test_pods(self) -> None:
        self.assertEqual(self.pods("10.64.2.200"), "edge-2")
        self.assertEqual(self.pods("10.64.2.255"), "edge-2")
        self.assertEqual(self.pods("fd00:1::7"), "edge-1")
        self.assertIsNone(self.pods("10.64.3.0"))
        self.assertIsNone(self.pods("10.64.0.255"))

    def test_changes(self) -> None:
        self.index.put(made("edge-1", "192.0.2.9"))
        self.assertIsNone(self.own("192.0.2.1"))
        self.assertIsNone(self.pods("10.64.1.1"))
        self.index.remove("edge-1")
        self.index.remove("edge-1")
        self.assertIsNone(self.own("192.0.2.9"))
        self.assertEqual(self.refused, [])

    def test_nonsense_in_an_object(self) -> None:
        item = {"metadata": {"name": "X"}, "spec": {"podCIDR": "10.0.0.1/8"}, "status": {"addresses": [{}]}}
        self.assertEqual(read_node(json.dumps(item).encode()), Node("x", (), ()))
        self.assertRaises(DecodeError, read_node, b"{}")

    def test_one_node_does_not_claim_without_end(self) -> None:
        many = made(
            "x", *(f"10.1.0.{n}" for n in range(200)), pods=tuple(f"10.64.{n}.0/24" for n in range(9))
        )
        self.assertEqual((len(many.addresses), len(many.networks)), (MAX_ADDRESSES, MAX_NETWORKS))


class ClaimTests(NodeCase):
    """A node that is reported what to claim by whoever has its credentials."""

    def claims(self, *addresses: str, pods: tuple[str, ...] = (), created: int = 0) -> list[str]:
        """The reasons why it did not get what it claims."""
        self.refused.clear()
        self.index.put(made("evil", *addresses, pods=pods, created=created))
        return [refused.reason for refused in self.refused]

    def test_anothers_own_address(self) -> None:
        self.assertEqual(self.claims("192.0.2.2"), ["held"])
        self.assertEqual(self.refused, [RefusedClaim("evil", "192.0.2.2", "held", "edge-2")])
        self.assertEqual(self.own("192.0.2.2"), "edge-2")

    def test_anothers_pods(self) -> None:
        for network in ("10.64.2.0/24", "10.64.2.128/25", "10.64.2.7/32", "10.64.0.0/16", "10.64.2.0/23"):
            self.assertEqual(self.claims(pods=(network,)), ["held"], network)
            self.assertEqual(self.pods("10.64.2.7"), "edge-2", network)
            self.assertIsNone(self.pods("10.64.3.1"), "and what is free of it is not its own either")

    def test_a_pods_address_as_its_own(self) -> None:
        self.assertEqual(self.claims("10.64.2.7", "10.64.9.9", "fd00:1::7"), ["reserved"] * 3)
        self.assertEqual((self.pods("10.64.2.7"), self.own("10.64.9.9")), ("edge-2", None))

    def test_what_is_no_nodes(self) -> None:
        hosts = (
            "10.96.0.1",
            "192.0.2.250",
            "127.0.0.1",
            "169.254.169.254",
            "224.0.0.1",
            "0.0.0.0",
            "fe80::1",
        )
        for host in (*hosts, "::1", "::ffff:10.96.0.1"):
            self.assertEqual(self.claims(host), ["reserved"], host)
            self.assertIsNone(self.index.holder(host))
            self.assertEqual(self.index.addresses("evil"), [])
        for host in ("203.0.113.1", "2002::1"):
            self.assertEqual(self.claims(host), ["range"], host)
            self.assertIsNone(self.index.holder(host))

    def test_pods_elsewhere(self) -> None:
        for network, reason in (
            ("10.96.0.0/24", "reserved"),
            ("0.0.0.0/0", "reserved"),
            ("192.0.2.0/24", "reserved"),
            ("10.65.0.0/24", "range"),
            ("10.64.0.0/15", "range"),
            ("2001:db8::/64", "range"),
            ("::/0", "range"),
        ):
            self.assertEqual(self.claims(pods=(network,)), [reason], network)
        self.assertIsNone(self.index.holder("10.65.0.1"))

    def test_without_ranges_nothing_counts(self) -> None:
        index = NodeIndex(Ranges())
        index.put(made("edge-1", "192.0.2.1", pods=("10.64.1.0/24",)))
        index.settle()
        self.assertEqual((index.holder("192.0.2.1"), index.holder("10.64.1.1")), (None, None))
        self.assertEqual(index.addresses("edge-1"), ["192.0.2.1"], "of which its name still tells")

    def test_who_claims_again_and_again_is_told_of_once(self) -> None:
        self.assertEqual(self.claims("192.0.2.2"), ["held"])
        self.assertEqual(self.claims("192.0.2.2", created=0), [])
        self.index.put(made("edge-3", "192.0.2.3"))
        self.index.remove("edge-3")
        self.assertEqual(self.refused, [])

    def test_an_older_node_takes_nothing_from_one_that_holds_it(self) -> None:
        self.index.put(made("edge-5", "192.0.2.5", created=30))
        self.assertEqual(self.claims("192.0.2.5", created=1), ["held"])
        self.assertEqual(self.own("192.0.2.5"), "edge-5")


class TimeTests(NodeCase):
    """Nodes come, go, and move."""

    def test_who_is_gone_leaves_its_addresses_to_the_oldest_that_waits(self) -> None:
        self.index.put(made("edge-4", "192.0.2.2", created=40, pods=("10.64.2.0/24",)))
        self.index.put(made("edge-3", "192.0.2.2", created=30, pods=("10.64.2.0/25",)))
        self.index.remove("edge-2")
        self.assertEqual((self.own("192.0.2.2"), self.pods("10.64.2.1")), ("edge-3", "edge-3"))
        self.assertIsNone(self.pods("10.64.2.129"))
        self.index.remove("edge-3")
        self.assertEqual((self.own("192.0.2.2"), self.pods("10.64.2.129")), ("edge-4", "edge-4"))

    def test_who_gives_an_address_up_leaves_it(self) -> None:
        self.index.put(made("edge-3", "192.0.2.2"))
        self.index.put(made("edge-2", "192.0.2.20"))
        self.assertEqual((self.own("192.0.2.2"), self.own("192.0.2.20")), ("edge-3", "edge-2"))
        self.index.put(made("edge-2", "192.0.2.2"))
        self.assertEqual(self.own("192.0.2.2"), "edge-3", "and has to wait, as it comes second now")

    def test_a_node_that_was_made_anew_begins_anew(self) -> None:
        self.index.put(made("edge-3", "192.0.2.2"))
        self.index.put(made("edge-2", "192.0.2.2", uid="another"))
        self.assertEqual(self.own("192.0.2.2"), "edge-3")

    def test_one_that_goes_and_comes_back_alone(self) -> None:
        self.index.remove("edge-2")
        self.index.put(made("edge-2", "192.0.2.2", pods=("10.64.2.0/24",), uid="another"))
        self.assertEqual((self.own("192.0.2.2"), self.pods("10.64.2.1")), ("edge-2", "edge-2"))

    def test_after_a_restart_the_older_object_has_it_whatever_the_order_of_the_list(self) -> None:
        nodes = [
            made("a", "192.0.2.7", pods=("10.64.7.0/25",), created=9),
            made("b", "192.0.2.7", pods=("10.64.7.0/24",), created=3),
            made("c", "192.0.2.7", pods=("10.64.7.128/25",), created=5),
        ]
        for order in (nodes, nodes[::-1]):
            self.index = NodeIndex(RANGES, self.refused.append)
            for node in order:
                self.index.put(node)
                self.assertIsNone(self.own("192.0.2.7"), "not before all are known")
            self.index.settle()
            self.assertEqual((self.own("192.0.2.7"), self.pods("10.64.7.200")), ("b", "b"))

    @given(
        st.lists(
            st.tuples(
                st.sampled_from("abc"),
                st.none()
                | st.lists(
                    st.sampled_from(["10.64.0.0/16", "10.64.1.0/24", "10.64.1.1/32", "10.64.2.0/24"]),
                    unique=True,
                    max_size=MAX_NETWORKS,
                ),
            )
        )
    )
    def test_no_two_ever_hold_the_same_and_none_loses_what_it_claims(
        self, changes: list[tuple[str, list[str] | None]]
    ) -> None:
        index, nodes = NodeIndex(RANGES), dict[str, list[str]]()
        index.settle()
        hosts = ("10.64.1.1", "10.64.1.2", "10.64.2.1", "10.64.3.1")
        before: dict[str, tuple[str, str]] = {}
        for name, networks in changes:
            if networks is None:
                index.remove(name)
                nodes.pop(name, None)
            else:
                index.put(made(name, pods=tuple(networks)))
                nodes[name] = networks
            after: dict[str, tuple[str, str]] = {}
            for host in hosts:
                claim = index.holder(host)
                claimed = [
                    (node, text)
                    for node, held in nodes.items()
                    for text in held
                    if ip_address(host) in ip_network(text)
                ]
                if claim is not None:
                    self.assertIn((claim.node, claim.text), claimed)
                    after[host] = (claim.node, claim.text)
                if host in before and before[host] in claimed:
                    self.assertEqual(after.get(host), before[host])
            before = after
