"""What both ends say of an edge that gets no session, or loses it to another with its certificate."""

from __future__ import annotations

from typing import Any, cast

from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from superedge.tls.authority import Authority
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
        edge = self.make_edge("system:admin", [])
        await self.until(lambda: self.lines("edge") and self.lines("edgeconnection"))
        self.assertRegex(edge.waits_for(), r"^a tunnel session: the cloud at 127\.0\.0\.1:\d+ began none: .")
        self.assertIn("CN=system:admin", self.lines("edge")[0])
        line = self.lines("edgeconnection")[0]
        self.assertIn("subject 'CN=system:admin', issuer 'CN=", line)
        self.assertIn("127.0.0.1:", line)

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
        (node,) = self.cloud.node_status()
        self.assertIn("share the certificate", str(node["last_error"]))


class NodeStatusTests(TunnelCase):
    async def test_a_node_while_it_is_here_and_after(self) -> None:
        stream = await self.cloud.open("edge-1", self.target, timeout=5)
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
