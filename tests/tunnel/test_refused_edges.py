"""What both ends say of an edge that gets no session, or loses it to another with its certificate."""

from __future__ import annotations

from typing import Any, cast

from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from superedge.tls.authority import Authority
from superedge.tls.denied import DenyList
from superedge.tunnel.messages import Notice
from tests.tunnel.case import TunnelCase
from tests.tunnel.test_metrics import value


class RefusedEdgeTests(TunnelCase):
    async def setUp(self) -> None:  # type: ignore[override]
        self.events: list[LogEvent] = []
        observer = cast(Any, self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        await super().setUp()

    def lines(self, namespace: str) -> list[str]:
        """Warnings of a module."""
        return [
            str(formatEvent(event))
            for event in self.events
            if event.get("log_namespace") == f"superedge.tunnel.{namespace}"
            and event["log_level"].name == "warn"
        ]

    async def test_a_certificate_of_another_authority(self) -> None:
        started = value("sessions_started_total", end="edge")
        refused = value("sessions_refused_total", end="edge")
        other = Authority.create(self.directory / "other")
        edge = self.make_edge("edge-7", [], other)
        await self.until(lambda: self.lines("edge") and self.lines("cloud"))
        line = self.lines("edge")[0]
        for part in ("refused the session", "unknown ca", str(edge._config.certificate), "CN=edge-7"):
            self.assertIn(part, line)
        self.assertIn("127.0.0.1:", self.lines("cloud")[0])
        self.assertIsNone(edge.connected_to)
        self.assertEqual(value("sessions_started_total", end="edge"), started)
        self.assertGreater(value("sessions_refused_total", end="edge"), refused)

    async def test_a_certificate_of_no_node(self) -> None:
        started = value("sessions_started_total", end="edge")
        edge = self.make_edge("system:admin", [])
        await self.until(lambda: self.lines("edge") and self.lines("edgeconnection"))
        told = "no node's certificate: CN 'system:admin'"
        for text in (edge.waits_for(), str(edge.status()["problem"])):
            self.assertRegex(text, rf"the cloud at 127\.0\.0\.1:\d+ began none: {told}$")
        self.assertIn(f"{told}; certificate", self.lines("edge")[0])
        self.assertIn("CN=system:admin", self.lines("edge")[0])
        self.assertEqual(value("sessions_started_total", end="edge"), started)
        line = self.lines("edgeconnection")[0]
        self.assertIn("subject 'CN=system:admin', issuer 'CN=", line)
        self.assertIn("127.0.0.1:", line)

    async def test_a_denied_certificate(self) -> None:
        path = self.directory / "denied"
        path.write_text("name edge-1\n")
        self.cloud._denied = DenyList(path)
        edge = self.make_edge("system:node:edge-1", [])
        await self.until(lambda: edge.problem)
        self.assertIn("the certificate of edge-1 is denied", edge.problem)
        (node,) = self.cloud.node_status()
        self.assertTrue(node["connected"])
        self.assertEqual(node["last_error"], "the certificate of edge-1 is denied")

    async def test_a_hello_that_cannot_be_read(self) -> None:
        edge = self.make_edge("edge-7", [])
        edge._hello = lambda session, joins: Notice("no hello")  # type: ignore[assignment, method-assign, return-value]
        await self.until(lambda: edge.problem)
        self.assertRegex(edge.problem, "ended the session: bad hello: .*version")

    async def test_an_edge_that_stops_is_not_refused(self) -> None:
        await self.edge.stopService()
        await self.until(lambda: not self.cloud.knows("edge-1"))
        self.assertEqual(self.lines("edge"), [])

    async def test_two_edges_with_one_certificate(self) -> None:
        other = self.make_edge("system:node:edge-1", [self.target])
        hello = other._hello

        def another(session: str, joins: bool) -> Any:
            import msgspec  # noqa: PLC0415

            return msgspec.structs.replace(hello(session, joins), instance="another process")

        other._hello = another  # type: ignore[method-assign]
        text = "two edges share the certificate of edge-1"
        await self.until(lambda: any(text in line for line in self.lines("cloud")))
        await self.until(lambda: any(text in line for line in self.lines("edgesession")))
        await self.until(lambda: self.edge.problem or other.problem)
        self.assertIn("ended the session", self.edge.problem or other.problem)
        (node,) = self.cloud.node_status()
        self.assertIn("share the certificate", str(node["last_error"]))


class NodeStatusTests(TunnelCase):
    async def test_a_node_while_it_is_here_and_after(self) -> None:
        stream = await self.cloud.open("edge-1", self.target, timeout=60)
        (node,) = self.cloud.node_status()
        self.assertEqual((node["name"], node["connected"], node["streams"]), ("edge-1", True, 1))
        self.assertRegex(str(node["peer"]), r"^127\.0\.0\.1:\d+$")
        self.assertGreater(float(str(node["since"])), 1e9)
        stream.abortConnection()
        await self.edge.stopService()
        await self.until(lambda: not self.cloud.knows("edge-1"))
        (gone,) = self.cloud.node_status()
        self.assertEqual((gone["name"], gone["connected"]), ("edge-1", False))
        self.assertGreaterEqual(float(str(gone["since"])), float(str(gone["connected_since"])))
        self.assertTrue(gone["last_error"])
        self.edge.startService()
        await self.until(lambda: self.cloud.knows("edge-1"))
        self.assertEqual([each["connected"] for each in self.cloud.node_status()], [True])
