"""How edge health meets the tunnel."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.health import EdgeAdmissionConfig, EdgeHealthConfig, ProbeConfig
from superedge.config.root import Config
from superedge.errors import ConfigError
from superedge.interfaces import IReactor
from superedge.tap.compose import compose
from superedge.tap.edgehealth import Voters
from superedge.tap.nodestreams import SessionStreams
from superedge.tls.denied import DenyList
from superedge.tunnel.messages import Hello
from superedge.tunnel.names import NameRules
from superedge.tunnel.nodetable import NodeSession, NodeTable

GROUP = frozenset({"system:nodes"})
FILES: dict[str, Any] = {"certificate": Path("c"), "key": Path("k"), "ca": [Path("a")]}


class CompositionTests(SynchronousTestCase):
    def test_each_half_needs_its_end_of_the_tunnel(self) -> None:
        for config, needed in (
            (Config(edge_health=EdgeHealthConfig(**FILES)), "tunnel_edge"),
            (Config(edge_admission=EdgeAdmissionConfig(ca=[Path("a")])), "tunnel_cloud"),
        ):
            problem = self.assertRaises(ConfigError, compose, config, cast(IReactor, Clock()))
            self.assertIn(f"needs a table {needed}", str(problem))

    def test_what_a_configuration_cannot_say(self) -> None:
        for make, key in (
            (lambda: EdgeHealthConfig(**{**FILES, "ca": []}), "ca"),
            (lambda: EdgeHealthConfig(**FILES, healthcheckscoreline=101), "healthcheckscoreline"),
            (lambda: EdgeHealthConfig(**FILES, period=0.0), "period"),
            (lambda: EdgeHealthConfig(**FILES, probes=[]), "probes"),
            (lambda: EdgeHealthConfig(**FILES, probes=[ProbeConfig(kind="icmp", weight=0.6)] * 2), "probes"),
            (lambda: EdgeHealthConfig(**FILES, listen="51005"), "listen"),
            (lambda: ProbeConfig(kind="http"), "port"),
            (lambda: ProbeConfig(kind="tcp", port=70000), "port"),
            (lambda: ProbeConfig(kind="tcp", weight=1.1), "weight"),
            (lambda: ProbeConfig(kind="tcp", retries=-1), "retries"),
            (lambda: EdgeAdmissionConfig(ca=[]), "ca"),
            (lambda: EdgeAdmissionConfig(ca=[Path("a")], witnesses=0), "witnesses"),
            (lambda: EdgeAdmissionConfig(ca=[Path("a")], minimum_witnesses=1), "minimum_witnesses"),
            (lambda: EdgeAdmissionConfig(ca=[Path("a")], keep_unknown=-1.0), "keep_unknown"),
        ):
            problem = self.assertRaises(ValueError, make)
            self.assertTrue(str(problem).startswith(key), str(problem))


class VotersTests(SynchronousTestCase):
    def test_whom_the_tunnel_takes_for_a_node_may_vote(self) -> None:
        lax, strict = Voters(NameRules()), Voters(NameRules(strict=True))
        self.assertEqual(lax("edge-1", (), 7), "edge-1")
        self.assertEqual(strict("system:node:edge-1", GROUP, 7), "edge-1")
        for name, groups in (
            ("edge-1", GROUP),
            ("system:node:edge-1", ()),
            ("system:node:10.0.0.1", GROUP),
            (None, ()),
        ):
            self.assertIsNone(strict(name, groups, 7), name)

    def test_who_is_denied_may_not(self) -> None:
        path = Path(self.mktemp())
        path.write_text("serial 0A\nname edge-2\n")
        voters = Voters(NameRules(), DenyList(path))
        self.assertEqual(voters("edge-1", (), 11), "edge-1")
        self.assertIsNone(voters("edge-1", (), 10))
        self.assertIsNone(voters("system:node:edge-2", (), 11))


class SessionStreamsTests(SynchronousTestCase):
    def test_sessions_here(self) -> None:
        table, told = NodeTable(), list[int]()
        streams = SessionStreams(cast(Any, None), table, None)
        streams.on_change(lambda: told.append(1))
        session = NodeSession("edge-1", 5, Hello("1"), [])
        table.add(session)
        self.assertEqual(streams.sessions(), {"edge-1": 5})
        table.add(NodeSession("edge-1", 6, Hello("1"), []))
        self.assertEqual(streams.sessions(), {"edge-1": 6})
        self.assertEqual(len(told), 2)
