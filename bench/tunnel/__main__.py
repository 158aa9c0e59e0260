"""``python -m bench.tunnel [--seconds N] [--only PART ...] [--json FILE]``."""

from __future__ import annotations

import argparse
import signal
from functools import partial
from pathlib import Path

from bench.harness import Report, Workbench, resident, workbench
from bench.tunnel import memory, outages, site, speed
from bench.tunnel.peers import peers

GIGABIT = 125.0
"""Megabytes a second."""


def _ways(bench: Workbench, path: site.Path) -> tuple[list[speed.Way], site.Tunnel]:
    target = site.Target(bench)
    tunnel = site.Tunnel(bench, target, path)
    relay = site.Relay(bench, target, path)
    return [("superedge", tunnel.port), ("nginx", relay.port), *peers(bench, target, path)], tunnel


def run_speed(report: Report, seconds: float) -> None:
    """No path between the halves."""
    with workbench() as bench:
        ways, tunnel = _ways(bench, site.Path(bench))
        report.add("edge process, idle", "MB", resident(tunnel.edge))
        report.add("cloud process, one node", "MB", resident(tunnel.cloud))
        speed.speeds(report, ways, seconds)
        speed.slow_beside_fast(report, tunnel.port, seconds)


def run_paths(report: Report, seconds: float) -> None:
    """Long paths."""
    for delay in (30, 100):
        for rate, text in ((GIGABIT, "1 Gbit/s"), (0.0, "no limit")):
            with workbench() as bench:
                ways, _ = _ways(bench, site.Path(bench, delay, rate=rate))
                what = f"bulk, 1 stream, {delay} ms round trip, {text}"
                speed.long_path(report, ways, what, int(seconds * 80e6))
    for before, after in ((0, 30), (2, 100)):
        with workbench() as bench:
            path = site.Path(bench, before, after, always=True)
            ways, _ = _ways(bench, path)
            what = f"bulk, 1 stream, the round trip rises from {before} to {after} ms"
            speed.changed_path(report, ways, what, partial(path.signal, signal.SIGUSR2), 2.0)


def run_beside(report: Report, seconds: float) -> None:
    """Small requests beside a bulk stream."""
    with workbench() as bench:
        ways, _ = _ways(bench, site.Path(bench))
        speed.beside_bulk(report, ways, seconds, "1 KiB requests beside bulk at full speed")
        speed.beside_bulk(report, ways, seconds, "1 KiB requests beside bulk of 50 MB/s", 50.0)
        other = site.Tunnel(bench, site.Target(bench), site.Path(bench))
        what = "1 KiB requests through another tunnel beside bulk at full speed"
        speed.beside_bulk(report, ways[:1], seconds, what, other=other.port)
    with workbench() as bench:
        target, path = site.Target(bench), site.Path(bench, 30, rate=GIGABIT / 10)
        what = "1 KiB requests beside bulk, 30 ms round trip, 100 Mbit/s"
        one = site.Tunnel(bench, target, path)
        speed.beside_bulk(report, [("superedge", one.port)], seconds, what)
    with workbench() as bench:
        target, path = site.Target(bench), site.Path(bench, 30, rate=GIGABIT / 10)
        several = site.Tunnel(bench, target, path, "connections = 2")
        speed.beside_bulk(report, [("superedge, 2 connections", several.port)], seconds, what)


def run_memory(report: Report, seconds: float) -> None:
    """Nodes and streams, and all nodes at once."""
    with workbench() as bench:
        target = site.Target(bench)
        tunnel = site.Tunnel(bench, target, site.Path(bench))
        memory.streams(report, tunnel)
        memory.short_streams(report, tunnel)
    with workbench() as bench:
        tunnel = site.Tunnel(bench, site.Target(bench), site.Path(bench))
        fleet = memory.nodes(report, bench, tunnel)
        outages.all_at_once(report, tunnel, fleet)


def run_outages(report: Report, seconds: float) -> None:
    """Restarts, a link that is cut silently, and one that is cut again and again."""
    with workbench() as bench:
        target = site.Target(bench)
        outages.restarts(report, site.Tunnel(bench, target, site.Path(bench)))
    with workbench() as bench:
        outages.silent_cut(report, bench, site.Target(bench))
    with workbench() as bench:
        outages.flapping(report, bench, site.Target(bench))


PARTS = {
    "speed": run_speed,
    "paths": run_paths,
    "beside": run_beside,
    "memory": run_memory,
    "outages": run_outages,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report = Report("tunnel beside a TLS relay of two nginx stream hops")
    for part in options.only:
        PARTS[part](report, options.seconds)
    report.show(options.json)


if __name__ == "__main__":
    main()
