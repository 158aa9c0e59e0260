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
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from superedge.tls.authority import Authority

TWISTD = Path(sys.executable).with_name("twistd")
SUPEREDGE = Path(sys.executable).with_name("superedge")


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
    timeout = 20

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        authority = Authority.create(self.directory)
        authority.issue("edge-1", directory=self.directory)
        self.config = self.directory / "edge.toml"
        self.config.write_text(
            '[tunnel_edge]\nservers = ["127.0.0.1:1"]\n'
            'certificate = "edge-1.crt"\nkey = "edge-1.key"\nca = ["ca.crt"]\n'
        )

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
        good = self.start("superedge-edge", "--config", str(self.config), "--check")
        bad = self.start("superedge-cloud", "--config", str(self.config), "--check", "--set", "ops.lisen=x")
        self.assertEqual(await good.ended, 0, good.err)
        self.assertEqual((good.out, good.err), (f"superedge-edge: {self.config} is good\n".encode(), b""))
        self.assertEqual(await bad.ended, 78)
        self.assertEqual(
            bad.err.decode(),
            "superedge-cloud: --set: ops.lisen: unknown key, did you mean listen?; accepted are listen\n",
        )
        self.assertEqual(bad.out, b"")

    async def test_runs_until_sigterm_and_logs_json(self) -> None:
        run = self.start(
            "superedge-edge",
            *("--config", "edge.toml", "--set", "log.format=json", "--set", "ops.listen=127.0.0.1:0"),
            until=b"Connection refused",
        )
        await run.ready
        run.transport.signalProcess("TERM")
        self.assertEqual(await run.ended, 0)
        self.assertIn(b"told to stop by SIGTERM", run.out)
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
        self.assertIn(b"told to stop by SIGTERM", run.out)
        self.assertEqual(run.err, b"")
        self.assertFalse((self.directory / "twistd.pid").exists())

    async def test_a_strict_start_refuses_warnings(self) -> None:
        (self.directory / "edge-1.key").chmod(0o644)
        run = self.spawn([str(SUPEREDGE), "edge", "--config", "edge.toml", "--strict"])
        self.assertEqual(await run.ended, 2)
        self.assertIn(b"every user of this machine can read it", run.out)

    async def test_sighup_ends_nothing(self) -> None:
        run = self.start("superedge-edge", "--config", "edge.toml", until=b"Connection refused")
        await run.ready
        run.until, run.ready = b"checked the certificate files", Deferred()
        Authority.load(self.directory).issue("edge-1", directory=self.directory)
        run.transport.signalProcess("HUP")
        await run.ready
        self.assertIn(b"reloaded TLS files", run.out)
        run.transport.signalProcess("TERM")
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
