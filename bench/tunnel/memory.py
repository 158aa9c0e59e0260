"""What connected nodes and open streams cost."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

from bench import load
from bench.harness import Report, Workbench, resident
from bench.tunnel.site import Tunnel

NODES = 1000
STREAMS = 1000
SHORT_STREAMS = 100_000


class Fleet:
    """A process with the edge ends of many nodes, and when how many were connected."""

    def __init__(self, bench: Workbench, tunnel: Tunnel, count: int) -> None:
        for number in range(count):
            bench.issue(f"node-{number}")
        self.count = count
        arguments = (str(tunnel.pki), f"127.0.0.1:{tunnel.cloud_port}", str(count))
        self._log = bench.directory / "fleet.log"
        self.process: subprocess.Popen[bytes] = bench.start(
            "fleet", sys.executable, "-m", "bench.fleet", *arguments
        )

    def events(self, word: str) -> list[tuple[int, float]]:
        """(nodes connected, monotonic seconds) of each line that begins with a word."""
        lines = (line.split() for line in Path(self._log).read_text().splitlines())
        return [(int(line[1]), float(line[2])) for line in lines if len(line) == 3 and line[0] == word]

    def wait(self, since: float = 0.0, seconds: float = 90.0) -> list[tuple[int, float]]:
        """What happened from ``since`` on until all were connected."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            events = [event for event in self.events("up") if event[1] >= since]
            if events and events[-1][0] == self.count:
                return events
            time.sleep(0.1)
        raise SystemExit(f"bench: not all of {self.count} nodes are connected after {seconds} s")


def nodes(report: Report, bench: Workbench, tunnel: Tunnel) -> Fleet:
    """Memory of connected nodes; the fleet goes on."""
    before = resident(tunnel.cloud)
    fleet = Fleet(bench, tunnel, NODES)
    fleet.wait()
    time.sleep(3)
    each = (resident(tunnel.cloud) - before) * 1024 / NODES
    report.add(f"{NODES:,} connected nodes, cloud", "KiB a node", each)
    return fleet


def streams(report: Report, tunnel: Tunnel) -> None:
    """Memory of open idle streams, in processes that had none before."""
    before = resident(tunnel.edge), resident(tunnel.cloud)
    idle: list[socket.socket] = []
    for _ in range(STREAMS):
        sock = load.connect(tunnel.port, b"Ex")
        sock.recv(1)
        idle.append(sock)
    time.sleep(0.5)
    report.add(f"{STREAMS:,} idle streams, edge", "MiB more", resident(tunnel.edge) - before[0])
    report.add(f"{STREAMS:,} idle streams, cloud", "MiB more", resident(tunnel.cloud) - before[1])
    for sock in idle:
        sock.close()


def short_streams(report: Report, tunnel: Tunnel) -> None:
    """Memory that is left of streams that have ended."""
    load.new_connections(tunnel.port, 10.0, 16, SHORT_STREAMS // 100)
    before = resident(tunnel.edge), resident(tunnel.cloud)
    rate = load.new_connections(tunnel.port, 120.0, 16, SHORT_STREAMS)
    for at, end in enumerate(("edge", "cloud")):
        process = tunnel.edge if end == "edge" else tunnel.cloud
        more = resident(process) - before[at]
        report.add(
            f"after {SHORT_STREAMS:,} short streams, {end}", "MiB more", more, more=f"{rate:,.0f} a second"
        )
