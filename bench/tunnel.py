"""The tunnel beside a TLS relay made of two nginx stream hops, to the same target.

``python -m bench.tunnel [--seconds N] [--json FILE]``
"""

from __future__ import annotations

import argparse
import shutil
import socket
import sys
import time
from pathlib import Path

from bench import load
from bench.harness import Report, Workbench, console, free_port, resident, wait_for_port, workbench

NODE = "edge-1"
PEERS = ("chisel", "frps")


class Site:
    """Target, tunnel and relay; ``delay`` is the round trip between their two halves, milliseconds."""

    def __init__(self, bench: Workbench, delay: float = 0.0) -> None:
        self.bench = bench
        self.target, self.tunnel, self.relay = free_port(), free_port(), free_port()
        cloud, far = free_port(), free_port()
        bench.start(f"target-{delay:g}", sys.executable, "-m", "bench.target", str(self.target))
        cloud_seen, far_seen = cloud, far
        if delay:
            cloud_seen, far_seen = free_port(), free_port()
            for near, real in ((cloud_seen, cloud), (far_seen, far)):
                arguments = (str(near), str(real), f"{delay:g}")
                bench.start(f"delay-{near}", sys.executable, "-m", "bench.delay", *arguments)
                wait_for_port(near)
        self._start_relay(far, far_seen)
        self._start_tunnel(cloud, cloud_seen)
        for port in (self.relay, self.tunnel):
            self._wait_for_echo(port)

    def _start_relay(self, far: int, far_seen: int) -> None:
        pair, ca = self.bench.server, self.bench.authority.path
        self.bench.nginx(
            f"far-{far}",
            stream=f"""server {{ listen 127.0.0.1:{far} ssl; ssl_certificate {pair.certificate};
  ssl_certificate_key {pair.key}; proxy_pass 127.0.0.1:{self.target}; tcp_nodelay on;
  proxy_buffer_size 64k; }}""",
        )
        self.bench.nginx(
            f"near-{far}",
            stream=f"""server {{ listen 127.0.0.1:{self.relay}; proxy_pass 127.0.0.1:{far_seen};
  proxy_ssl on; proxy_ssl_verify on; proxy_ssl_trusted_certificate {ca}; proxy_ssl_name localhost;
  tcp_nodelay on; proxy_buffer_size 64k; }}""",
        )

    def _start_tunnel(self, cloud: int, cloud_seen: int) -> None:
        pki = self.bench.directory / "pki"
        self.bench.issue(NODE)
        ops = free_port()
        self.cloud = self.bench.twistd(
            "superedge-cloud",
            f"""[ops]
listen = "127.0.0.1:{ops}"
[tunnel_cloud]
listen = "127.0.0.1:{cloud}"
certificate = "{pki}/server.crt"
key = "{pki}/server.key"
ca = ["{pki}/ca.crt"]
drain_timeout = 0.1
[[tunnel_cloud.listeners]]
kind = "tcp"
listen = "127.0.0.1:{self.tunnel}"
node = "{NODE}"
target = "127.0.0.1:{self.target}"
""",
        )
        self.edge = self.bench.twistd(
            "superedge-edge",
            f"""[tunnel_edge]
servers = ["127.0.0.1:{cloud_seen}"]
certificate = "{pki}/{NODE}.crt"
key = "{pki}/{NODE}.key"
ca = ["{pki}/ca.crt"]
allow = ["127.0.0.1:{self.target}"]
reconnect_initial = 0.1
reconnect_maximum = 0.5
""",
        )

    def _wait_for_echo(self, port: int) -> None:
        end = time.monotonic() + 15
        while time.monotonic() < end:
            try:
                with load.connect(port, b"Ex") as sock:
                    sock.settimeout(2)
                    if sock.recv(1) == b"x":
                        return
            except OSError:
                pass
            time.sleep(0.1)
        raise SystemExit(f"bench: nothing comes back through port {port}")


def measure(report: Report, site: Site, seconds: float) -> None:
    """Without delay: throughput, small exchanges, connections, memory."""
    report.add("edge process, idle", "MB", resident(site.edge))
    report.add("cloud process, one node", "MB", resident(site.cloud))
    total = int(seconds * 300e6)
    for connections in (1, 8):
        relay = load.bulk(site.relay, connections, total)
        ours = load.bulk(site.tunnel, connections, total)
        report.add(
            f"bulk, {connections} streams" if connections > 1 else "bulk, 1 stream", "MB/s", ours, relay
        )
    for connections in (1, 64):
        other = load.exchanges(site.relay, connections, seconds)
        mine = load.exchanges(site.tunnel, connections, seconds)
        more = f"p50 {mine.p50:.2f} p99 {mine.p99:.2f} ms; nginx {other.p50:.2f}, {other.p99:.2f}"
        report.add(f"1 KiB echo, {connections} at once", "exchanges/s", mine.rate, other.rate, more)
    report.add(
        "new streams",
        "1/s",
        load.new_connections(site.tunnel, seconds),
        load.new_connections(site.relay, seconds),
        "nginx: a TLS handshake each",
    )
    slow_beside_fast(report, site, seconds)
    idle: list[socket.socket] = []
    before = resident(site.edge), resident(site.cloud)
    for _ in range(1000):
        sock = load.connect(site.tunnel, b"Ex")
        sock.recv(1)
        idle.append(sock)
    time.sleep(0.5)
    report.add("1,000 idle streams, edge", "MB more", resident(site.edge) - before[0])
    report.add("1,000 idle streams, cloud", "MB more", resident(site.cloud) - before[1])
    for sock in idle:
        sock.close()


def slow_beside_fast(report: Report, site: Site, seconds: float) -> None:
    """What a reader that does not read costs another stream of the same session."""
    alone = load.exchanges(site.tunnel, 8, seconds)
    slow = load.SlowReader(site.tunnel)
    slow.push()
    beside = load.exchanges(site.tunnel, 8, seconds)
    slow.close()
    report.add(
        "1 KiB echo, 8 at once, beside a reader that stands still",
        "exchanges/s",
        beside.rate,
        alone.rate,
        "peer: the same without it",
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report = Report("tunnel beside a TLS relay of two nginx stream hops")
    for peer in PEERS:
        if shutil.which(peer) is None:
            console.print(f"[dim]{peer} is not on PATH: not compared[/]")
    with workbench() as bench:
        measure(report, Site(bench), options.seconds)
    for delay in (30, 100):
        with workbench() as bench:
            site = Site(bench, delay)
            total = int(options.seconds * 40e6)
            relay, ours = load.bulk(site.relay, 1, total), load.bulk(site.tunnel, 1, total)
            report.add(f"bulk, 1 stream, {delay} ms round trip", "MB/s", ours, relay)
    report.show(options.json)


if __name__ == "__main__":
    main()
