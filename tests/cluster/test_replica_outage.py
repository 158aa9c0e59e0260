"""The API server hangs, or is gone, under replicas that run: slow, and so not among the unit tests."""

from __future__ import annotations

import os
import re
import signal
import time
from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from tests.testing.server import EmbeddedServer
from tests.tunnel.replicas.processes import Site, wait_until

SKIP = "set SUPEREDGE_CLUSTER_TESTS=1 to run it: it takes a minute"


class OutageTests(SynchronousTestCase):
    if os.environ.get("SUPEREDGE_CLUSTER_TESTS") != "1":
        skip = SKIP

    def setUp(self) -> None:
        self.server = EmbeddedServer()
        self.addCleanup(self.server.stop)
        self.site = Site(self.server.kubeconfig, "default", "abc")
        self.addCleanup(self.site.stop)
        for name in ("a", "b", "edge"):
            self.site.start(name)
        for name in "ab":
            wait_until(partial(self.site.reaches, name), self.site)

    def leads(self, name: str, holder: str) -> bool:
        return self.site.resolve(name) == [self.site.address(holder)]

    def hang(self) -> None:
        """Connections stay and nothing is answered, until the end of the test at the latest."""
        self.signal(signal.SIGSTOP)
        self.addCleanup(self.signal, signal.SIGCONT)

    def signal(self, sign: signal.Signals) -> None:
        os.kill(self.server._process.pid, sign)

    def test_it_hangs_and_comes_back(self) -> None:
        site = self.site
        first = site.holder()
        (second,) = set("ab") - {first}
        stream = site.connect(second)
        self.addCleanup(stream.close)
        self.hang()
        # For several leases: routes and streams stay.
        end = time.monotonic() + 12
        while time.monotonic() < end:
            self.assertTrue(site.reaches(first) and site.reaches(second), site.logs())
            stream.sendall(b"x")
            self.assertEqual(stream.recv(1), b"x")
            time.sleep(0.5)
        # One that starts now takes nodes at least; a node that comes elsewhere is reached there.
        site.start("c")
        site.end(first, signal.SIGKILL)
        site.end(second, signal.SIGKILL)
        wait_until(partial(site.reaches, "c"), site)
        missing = ("the other replicas' records", "the cluster's nodes", "the records of their addresses")
        waits = f"waiting for {' and '.join(missing)}\n"
        self.assertEqual(site.readiness("c"), (503, waits))
        site.start(first)
        self.assertFalse(site.reaches(first), "it knows of nobody yet")
        self.signal(signal.SIGCONT)
        wait_until(partial(site.reaches, first), site, 60)
        wait_until(lambda: site.readiness("c") == (200, "ok\n"), site)
        self.assertEqual(site.holder(), "c")

    def test_a_hung_edge_does_not_keep_its_replacement_out(self) -> None:
        """The replacement comes in elsewhere; nothing leads to the hung one, which stays connected."""
        site = self.site
        first = site.holder()
        (second,) = set("ab") - {first}
        hung = site.processes.pop("edge")
        self.addCleanup(hung.wait)
        self.addCleanup(hung.kill)
        hung.send_signal(signal.SIGSTOP)
        config = site.directory / "edge.toml"
        port = site.ports[second]["tunnel"]
        config.write_text(re.sub(r"servers = .*", f'servers = ["127.0.0.1:{port}"]', config.read_text()))
        site.start("edge")
        for name in "ab":
            wait_until(partial(self.leads, name, second), site, 5)
            self.assertTrue(site.reaches(name))
        hung.send_signal(signal.SIGCONT)

    def test_a_replica_stops_in_time_without_it(self) -> None:
        self.hang()
        started = time.monotonic()
        self.assertEqual(self.site.end("a"), 0)
        self.assertEqual(self.site.end("b"), 0)
        self.assertLess(time.monotonic() - started, 60)
