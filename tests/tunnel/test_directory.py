"""Where nodes are, from sessions here, records of others and Node objects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from superedge.config.addresses import TCPAddress
from superedge.kube.nodes import Node, NodeIndex, Ranges
from superedge.tunnel.directory import Location, NodeDirectory
from superedge.tunnel.messages import Hello
from superedge.tunnel.nodetable import NodeSession, NodeTable
from superedge.tunnel.replicas.records import Replica
from superedge.tunnel.replicas.routes import Route

HERE, THERE = ("192.0.2.1",), ("192.0.2.2", "2001:db8::2")
OTHER = Replica("b", "1", "", 15, TCPAddress("192.0.2.2", 51002), THERE)


class FakeRegistry:
    def __init__(self) -> None:
        self.draining = False
        self.held: dict[str, Route] = {}
        self.living = [OTHER]
        self.callbacks: list[Callable[[], None]] = []

    def routes(self, node: str) -> list[Route]:
        return [self.held[node]] if node in self.held else []

    def replicas(self) -> list[Replica]:
        return self.living

    def nodes(self) -> set[str]:
        return set(self.held)

    def on_change(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    def hold(self, node: str, epoch: int, replica: Replica = OTHER) -> None:
        self.held[node] = Route(replica, epoch)
        for callback in self.callbacks:
            callback()


class DirectoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.table = NodeTable(lambda: 0.0)
        self.registry = FakeRegistry()
        self.index = NodeIndex(Ranges(["192.0.2.0/24"], ["10.64.0.0/16"]))
        self.index.settle()
        self.directory = NodeDirectory(HERE, self.table, cast(Any, self.registry), self.index)

    def connect(self, node: str) -> NodeSession:
        session = NodeSession(node, self.table.next_epoch(), Hello("1"), [])
        self.table.add(session)
        return session

    def test_a_session_here_and_there(self) -> None:
        self.assertEqual(self.directory.serving("edge-1"), ())
        session = self.connect("edge-1")
        self.assertEqual(self.directory.serving("edge-1"), HERE)
        self.registry.hold("edge-1", session.epoch + 1)
        self.assertEqual(self.directory.serving("edge-1"), THERE)
        self.registry.hold("edge-1", session.epoch - 1)
        self.assertEqual(self.directory.serving("edge-1"), HERE)
        self.table.remove(session)
        self.assertEqual(self.directory.serving("edge-1"), THERE)

    def test_nobody_is_sent_to_a_replica_that_leaves(self) -> None:
        self.registry.hold("edge-1", 5, replace(OTHER, draining=True))
        self.assertEqual(self.directory.serving("edge-1"), HERE)
        self.registry.hold("edge-1", 5, replace(OTHER, addresses=()))
        self.assertEqual(self.directory.serving("edge-1"), HERE)
        self.connect("edge-2")
        self.registry.draining = True
        self.assertEqual(self.directory.serving("edge-2"), THERE)
        self.registry.living = [replace(OTHER, draining=True)]
        self.assertEqual(self.directory.serving("edge-2"), HERE)

    def test_reverse(self) -> None:
        self.connect("edge-2")
        self.connect("edge-1")
        self.registry.hold("edge-3", 5)
        self.assertEqual(self.directory.names_at("192.0.2.1"), ["edge-1", "edge-2"])
        self.assertEqual(self.directory.names_at("2001:db8::2"), ["edge-3"])
        self.connect("edge-0")
        self.registry.hold("edge-4", 5)
        self.assertEqual(self.directory.names_at("192.0.2.1"), ["edge-0", "edge-1", "edge-2"])
        self.assertEqual(self.directory.names_at("192.0.2.2"), ["edge-3", "edge-4"])
        self.assertEqual(self.directory.names_at("192.0.2.9"), ())

    def test_who_listens_hears_of_every_change(self) -> None:
        heard: list[int] = []
        self.directory.on_change(lambda: heard.append(1))
        self.table.remove(self.connect("edge-1"))
        self.registry.hold("edge-3", 5)
        self.assertEqual(len(heard), 3)

    def test_objects(self) -> None:
        self.index.put(Node("edge-1", ("192.0.2.77",), (ip_network("10.64.1.0/24"),)))
        self.assertEqual(self.directory.own("edge-1"), ["192.0.2.77"])
        self.assertEqual(self.directory.locate("192.0.2.77"), Location("edge-1"))
        self.assertEqual(self.directory.locate("10.64.1.9"), Location("edge-1", "10.64.1.9"))
        self.assertIsNone(self.directory.locate("10.96.0.1"))
        self.assertIsNone(self.directory.locate("web.default.svc"))
        self.assertTrue(self.directory.exists("edge-1") and not self.directory.exists("edge-2"))

    def test_alone_and_without_objects(self) -> None:
        alone = NodeDirectory(HERE, self.table)
        self.connect("edge-1")
        self.assertEqual((alone.serving("edge-1"), alone.serving("edge-2")), (HERE, ()))
        self.assertEqual(
            (alone.own("edge-1"), alone.locate("192.0.2.77"), alone.exists("edge-1")), (None, None, False)
        )
