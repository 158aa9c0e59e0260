"""What the cloud end believes of nodes, as its configuration says."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from prometheus_client import REGISTRY
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.addresses import TCPAddress
from superedge.config.tunnel import TunnelCloudConfig
from superedge.kube.access import Access
from superedge.kube.nodes import RefusedClaim
from superedge.tap.nodetrust import name_rules, ranges, report
from superedge.tls.authority import Authority
from superedge.tls.contexts import ClientContextSource
from superedge.tunnel.names import NotANode


class NodeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.own = Authority.create(self.directory / "own").path
        self.cluster = Authority.create(self.directory / "cluster", "company").path
        self.access = Access(TCPAddress("192.0.2.250", 6443), ClientContextSource([self.cluster]))

    def settings(self, *ca: Path, **options: Any) -> TunnelCloudConfig:
        return TunnelCloudConfig(certificate=Path("x"), key=Path("x"), ca=list(ca), **options)

    def is_a_node(self, settings: TunnelCloudConfig, access: Access | None) -> bool:
        """Whether a user's certificate is."""
        try:
            return name_rules(settings, access).node_of("alice", ()) == "alice"
        except NotANode:
            return False

    def test_the_ca_that_signs_users_too(self) -> None:
        named = [
            Authority.create(self.directory / name, name).path
            for name in ("kubernetes", "kube-ca", "my-cluster-ca", "k3s-client-ca@17", "rke2-client-ca@1")
        ]
        for ca, access, node in (
            ([self.own], None, True),
            ([self.own], self.access, True),
            ([self.cluster], None, True),
            ([self.cluster], self.access, False),
            ([self.own, self.cluster], self.access, False),
            *(([path], None, False) for path in named),
            ([self.own, named[0]], None, False),
        ):
            self.assertEqual(self.is_a_node(self.settings(*ca), access), node, ca)

    def test_the_key_decides(self) -> None:
        strict = self.settings(self.own, node_certificates="kubernetes")
        loose = self.settings(self.cluster, node_certificates="any")
        self.assertFalse(self.is_a_node(strict, None))
        self.assertTrue(self.is_a_node(loose, self.access))
        self.assertEqual(name_rules(strict, None).node_of("system:node:edge-1", ["system:nodes"]), "edge-1")

    def test_names(self) -> None:
        settings = self.settings(self.own, cluster_domain="shop.local", reserved_names=["cloud-*"])
        rules = name_rules(settings, None)
        found = [
            rules.is_reserved(name)
            for name in ("a.shop.local", "cloud-1", "10.1", "a.cluster.local", "b.svc")
        ]
        self.assertEqual(found, [True, True, True, False, False])

    def test_the_api_servers_own_address_is_no_nodes(self) -> None:
        settings = self.settings(self.own, node_ranges=["192.0.2.0/24"], reserved_ranges=["192.0.2.8/29"])
        found = ranges(settings, self.access)
        faults = [
            found.fault_of_address(host) for host in ("192.0.2.1", "192.0.2.9", "192.0.2.250", "10.0.0.1")
        ]
        self.assertEqual(faults, [None, "reserved", "reserved", "range"])

    def test_what_is_refused_is_told(self) -> None:
        seen: list[Any] = []
        observer = cast(ILogObserver, seen.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        name = "superedge_tunnel_claims_refused_total"
        before = REGISTRY.get_sample_value(name, {"reason": "held"}) or 0.0
        report(RefusedClaim("a", "192.0.2.1", "held", "b"))
        report(RefusedClaim("a", "10.96.0.1", "reserved"))
        report(RefusedClaim("a", "203.0.113.1", "range"))
        self.assertEqual(REGISTRY.get_sample_value(name, {"reason": "held"}), before + 1)
        self.assertEqual(
            [(each["node"], each["claim"]) for each in seen], [("a", "192.0.2.1"), ("a", "10.96.0.1")]
        )
        self.assertEqual(seen[0]["holder"], "b")
