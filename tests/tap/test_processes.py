"""The commands as processes of their own."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from superedge.testing.ports import free_port
from superedge.tls.authority import Authority

TWISTD = Path(sys.executable).with_name("twistd")
SUPEREDGE = Path(sys.executable).with_name("superedge")
EDGE = """[tunnel_edge]
servers = ["127.0.0.1:{}"]
certificate = "edge-1.crt"
key = "edge-1.key"
ca = ["ca.crt"]
"""


class Run(ProcessProtocol):
    """One process: its output, and its exit code."""

    def __init__(self, until: bytes = b"\0") -> None:
        self.transport: Any = None
        self.out = b""
        self.err = b""
        self.until = until
        self.ready: Deferred[None] = Deferred()
        self.ended: Deferred[int | None] = Deferred()

    def outReceived(self, data: bytes) -> None:
        self.out += data
        if self.until in self.out and not self.ready.called:
            self.ready.callback(None)

    def errReceived(self, data: bytes) -> None:
        self.err += data

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(cast(Any, reason.value).exitCode)


class ProcessTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        authority = Authority.create(self.directory)
        authority.issue("edge-1", directory=self.directory)
        self.config = self.directory / "edge.toml"
        self.config.write_text(EDGE.format(1))

    def start(self, *arguments: str, until: bytes = b"\0") -> Run:
        return self.spawn([str(TWISTD), "--nodaemon", "--pidfile=", *arguments], until)

    def spawn(self, line: list[str], until: bytes = b"\0") -> Run:
        run = Run(until)
        transport = reactor.spawnProcess(run, line[0], line, env=dict(os.environ), path=str(self.directory))

        def kill() -> None:
            if transport.pid is not None:
                transport.signalProcess("KILL")

        self.addCleanup(kill)
        return run

    async def test_check(self) -> None:
        bad = self.start("superedge-cloud", "--config", str(self.config), "--check", "--set", "ops.lisen=x")
        self.assertEqual(await bad.ended, 78)
        self.assertEqual(
            bad.err.decode(),
            "superedge-cloud: --set: ops.lisen: unknown key, did you mean listen?; accepted keys: listen\n",
        )
        self.assertEqual(bad.out, b"")

    async def test_runs_through_sighup_until_sigterm_and_logs_json(self) -> None:
        run = self.start(
            "superedge-edge",
            *("--config", "edge.toml", "--set", "log.format=json", "--set", "ops.listen=127.0.0.1:0"),
            until=b"Connection refused",
        )
        await run.ready
        run.until, run.ready = b"checked the certificate files", Deferred()
        Authority.load(self.directory).issue("edge-1", directory=self.directory)
        run.transport.signalProcess("HUP")
        await run.ready
        self.assertIn(b"reloaded TLS files", run.out)
        run.transport.signalProcess("TERM")
        self.assertEqual(await run.ended, 0)
        self.assertIn(b"stopping on SIGTERM", run.out)
        lines = [json.loads(line) for line in run.out.decode().splitlines()]
        (failed, *_) = [line for line in lines if line["logger"] == "superedge.tunnel.edge"]
        self.assertEqual((failed["level"], failed["server"]), ("warn", "127.0.0.1:1"))
        self.assertIn("metrics and health on", " ".join(line["message"] for line in lines))
        self.assertEqual(run.err, b"")

    async def test_superedge_edge_runs_in_the_foreground(self) -> None:
        line = [str(SUPEREDGE), "edge", "--config", "edge.toml", "--strict"]
        run = self.spawn(line, until=b"Connection refused")
        await run.ready
        run.transport.signalProcess("TERM")
        self.assertEqual(await run.ended, 0)
        self.assertIn(b"stopping on SIGTERM", run.out)
        self.assertEqual(run.err, b"")
        self.assertFalse((self.directory / "twistd.pid").exists())

    async def test_a_strict_start_refuses_warnings(self) -> None:
        (self.directory / "edge-1.key").chmod(0o644)
        run = self.spawn([str(SUPEREDGE), "edge", "--config", "edge.toml", "--strict"])
        self.assertEqual(await run.ended, 2)
        self.assertIn(b"every user of this machine can read it", run.out)

    async def both_ends_of_a_stream(
        self, drain_timeout: float = 0.1
    ) -> tuple[Run, Run, socket.socket, socket.socket]:
        """A cloud and an edge process, and a caller's and a target's socket with a stream between them."""
        self.target = target = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(target.close)
        ports = [free_port() for _ in range(3)]
        Authority.load(self.directory).issue("cloud", ips=["127.0.0.1"], directory=self.directory)
        cloud = self.directory / "cloud.toml"
        cloud.write_text(
            f"""
            [tunnel_cloud]
            listen = "127.0.0.1:{ports[0]}"
            certificate = "cloud.crt"
            key = "cloud.key"
            ca = ["ca.crt"]
            drain_timeout = {drain_timeout}
            [[tunnel_cloud.listeners]]
            kind = "tcp"
            listen = "127.0.0.1:{ports[1]}"
            node = "edge-1"
            target = "127.0.0.1:{target.getsockname()[1]}"
            [[tunnel_cloud.listeners]]
            kind = "http"
            listen = "127.0.0.1:{ports[2]}"
            target = "127.0.0.1:{target.getsockname()[1]}"
            """
        )
        self.config.write_text(
            EDGE.format(ports[0]) + 'allow = ["127.0.0.1:*"]\ndrain_timeout = 0.1\nreconnect_initial = 0.1\n'
        )
        runs = (
            self.start(
                "superedge-cloud", "--config", "cloud.toml", until=b"tunnel session of edge-1 started"
            ),
            self.start("superedge-edge", "--config", "edge.toml"),
        )
        await runs[0].ready
        self.door, self.http_door = ("127.0.0.1", ports[1]), ("127.0.0.1", ports[2])
        return *runs, *await self.stream()

    async def stream(self) -> tuple[socket.socket, socket.socket]:
        """A new caller's socket, and the target's; bytes have passed both ways."""
        caller = socket.create_connection(self.door)
        self.target.settimeout(10)
        served, _ = await deferToThread(self.target.accept)
        for sock, other in ((caller, served), (served, caller)):
            self.addCleanup(sock.close)
            sock.sendall(b"half")
            self.assertEqual(await deferToThread(other.recv, 4), b"half")
        return caller, served

    async def request(self) -> tuple[socket.socket, socket.socket]:
        """A client's socket and a target's, both idle after a request."""
        client = socket.create_connection(self.http_door)
        client.sendall(b"GET / HTTP/1.1\r\nHost: edge-1\r\n\r\n")
        served, _ = await deferToThread(self.target.accept)
        served.settimeout(10)
        self.assertIn(b"GET / ", await deferToThread(served.recv, 9999))
        served.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        self.assertIn(b" 204 ", await deferToThread(client.recv, 100))
        for sock in (client, served):
            self.addCleanup(sock.close)
        return client, served

    async def test_a_cloud_end_that_stops_serves_new_callers_while_a_stream_lasts(self) -> None:
        cloud, edge, *ends = await self.both_ends_of_a_stream(drain_timeout=3600.0)
        client, target = await self.request()
        cloud.until, cloud.ready = b"stopping on SIGTERM", Deferred()
        cloud.transport.signalProcess("TERM")
        await cloud.ready
        for _ in range(2):
            ends += await self.stream()
        self.assertFalse(cloud.ended.called)
        self.assertEqual(await deferToThread(target.recv, 9999), b"")
        for end in (*ends, target):
            end.close()
        self.assertEqual(await cloud.ended, 0)
        client.close()
        edge.transport.signalProcess("TERM")
        self.assertEqual(await edge.ended, 0)

    async def test_a_stream_that_outlasts_an_end_is_reset_at_both_ends(self) -> None:
        cloud, edge, caller, served = await self.both_ends_of_a_stream()
        await self.stop_under_a_stream(edge, caller, served)
        started = b"tunnel session of edge-1 started"
        cloud.until, cloud.ready, cloud.out = started, Deferred(), b""
        edge = self.start("superedge-edge", "--config", "edge.toml")
        await cloud.ready
        await self.stop_under_a_stream(cloud, *await self.stream())
        edge.transport.signalProcess("TERM")
        self.assertEqual(await edge.ended, 0)

    async def stop_under_a_stream(self, run: Run, *ends: socket.socket) -> None:
        """Stop a process; both ends of the stream are reset."""
        run.transport.signalProcess("TERM")
        for end in ends:
            with self.assertRaises(ConnectionResetError):
                self.fail(repr(await deferToThread(end.recv, 4)))
        self.assertEqual(await run.ended, 0)

    async def test_a_port_that_is_taken(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            run = self.start(
                "superedge-edge", "--config", "edge.toml", "--set", f"ops.listen=127.0.0.1:{port}"
            )
            self.assertEqual(await run.ended, 1)
        self.assertIn(
            f"superedge-edge cannot start: cannot listen on 127.0.0.1:{port}: Address already in use",
            run.out.decode(),
        )
        self.assertNotIn("Traceback", run.out.decode() + run.err.decode())
