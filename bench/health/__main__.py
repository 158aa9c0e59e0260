"""`python -m bench.health`: how soon a death is seen, what is held dead without being so, what it costs.

SuperEdge's nodes are the real ones on a fake clock; memberlist's run in a process of its own, in real time,
with its LAN defaults. ``--long`` takes the targets' hours: 1,000 of nodes at 10 % loss, and 100 at 30 %.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from bench.harness import console
from bench.health.webhook import percentiles
from superedge.health.votes.verdicts import Verdict
from tests.health.simulation import Site

SETTLE = 40.0
HERE = Path(__file__).parent


def _site(count: int, loss: float, seed: int) -> Site:
    made = Site([f"edge-{n}" for n in range(count)], loss=loss, seed=seed)
    made.start()
    made.run(SETTLE)
    return made


def seconds_to_verdict(count: int, loss: float, seeds: int) -> list[float]:
    """From a node's death to the verdict, once for each seed."""
    found = []
    for seed in range(1, seeds + 1):
        unit = _site(count, loss, seed)
        unit.run(unit.random.random() * 10)
        died = unit.clock.seconds()
        unit.nodes["edge-1"].die()
        unit.run(60)
        found.append(
            next(each.at for each in unit.seen if each.at > died and each.verdict is Verdict.DEAD) - died
        )
    return found


def cost(count: int, seconds: float) -> tuple[float, float]:
    """Bytes and messages that a node sends in a minute, all on the LAN and to the cloud."""
    unit = _site(count, 0.0, 1)
    unit.bytes.clear()
    unit.messages = 0
    unit.run(seconds)
    mean = sum(size for name, size in unit.bytes.items() if name) / count
    return mean / seconds * 60, unit.messages / count / seconds * 60


def false_verdicts(count: int, loss: float, node_hours: float) -> tuple[int, int]:
    """Nodes held dead, and those of which nothing was known, in so many hours of all nodes together."""
    unit = _site(count, loss, 7)
    before = len(unit.seen)
    unit.run(node_hours / count * 3600)
    verdicts = [each.verdict for each in unit.seen[before:]]
    return verdicts.count(Verdict.DEAD), verdicts.count(Verdict.UNKNOWN)


def memberlist(program: str, count: int, loss: float, calm: str, wait: str = "0") -> dict[str, Any]:
    """One run of the peer; without ``wait`` nobody dies."""
    command = [program, "--nodes", str(count), "--loss", str(loss), "--calm", calm, "--wait", wait]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def _built() -> str:
    program = str(Path(tempfile.mkdtemp(prefix="superedge-bench-")) / "memberlist")
    done = subprocess.run(["go", "build", "-o", program, "."], cwd=HERE / "memberlist", check=False)
    if done.returncode:
        sys.exit("bench: memberlist cannot be built: it needs Go and its module proxy")
    return program


def _deaths(peer: str, seeds: int) -> None:
    table = Table(
        "nodes", "loss", "SuperEdge, s", "longest", "memberlist, s", title="from a death to the verdict"
    )
    for count, loss in ((10, 0.0), (50, 0.0), (100, 0.0), (500, 0.0), (10, 0.1), (10, 0.3), (50, 0.3)):
        found = seconds_to_verdict(count, loss, seeds if count < 500 else 1)
        other = memberlist(peer, count, loss, "5s", "40s")["seconds"] if peer and count <= 100 else None
        table.add_row(
            str(count),
            f"{loss:.0%}",
            f"{median(found):.1f}",
            f"{max(found):.1f}",
            "" if other is None else f"{other:.1f}",
        )
    console.print(table)


def _costs(peer: str) -> None:
    table = Table(
        "nodes", "SuperEdge, kB", "messages", "memberlist, kB", title="what a node sends in a minute"
    )
    for count in (10, 50, 100, 500):
        size, messages = cost(count, 60.0 if count == 500 else 120.0)
        other = memberlist(peer, count, 0.0, "30s")["bytes"] if peer and count <= 100 else None
        table.add_row(
            str(count),
            f"{size / 1000:.1f}",
            f"{messages:.0f}",
            "" if other is None else f"{other / 1000:.1f}",
        )
    console.print(table)


def _lies(peer: str, hours: dict[float, float]) -> None:
    table = Table(
        "loss",
        "node-hours",
        "held dead",
        "not known",
        "memberlist: false a node-hour",
        title="10 nodes, all alive",
    )
    for loss, node_hours in hours.items():
        dead, unknown = false_verdicts(10, loss, node_hours)
        other = memberlist(peer, 10, loss, "60s")["false"] * 60 if peer else None
        table.add_row(
            f"{loss:.0%}", f"{node_hours:g}", str(dead), str(unknown), "" if other is None else f"{other:.1f}"
        )
    console.print(table)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help="as many hours as the targets name")
    parser.add_argument("--alone", action="store_true", help="without memberlist")
    arguments = parser.parse_args()
    peer = "" if arguments.alone else _built()
    _deaths(peer, 9 if arguments.long else 3)
    _costs(peer)
    short, long = {0.01: 10.0, 0.1: 10.0, 0.3: 10.0}, {0.01: 100.0, 0.1: 1000.0, 0.3: 100.0}
    _lies(peer, long if arguments.long else short)
    half, most = percentiles(rate=200, seconds=5.0)
    console.print(f"webhook at 200 requests a second: p50 {half * 1000:.1f} ms, p99 {most * 1000:.1f} ms")


if __name__ == "__main__":
    main()
