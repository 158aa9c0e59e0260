"""`python -m bench.health`: how soon a death is seen, what is held dead without being so, what it costs.

SuperEdge's nodes are the real ones on a fake clock; memberlist's run in processes of their own, in real time,
with its LAN defaults. ``--long`` takes as many hours as the targets name, and a fleet of 10,000 nodes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, cast

from rich.table import Table

from bench.harness import console
from bench.health.webhook import percentiles
from superedge.health.edge import voter
from superedge.health.votes.verdicts import Verdict
from superedge.health.votes.witnesses import probed_by
from tests.health.simulation import Site

SETTLE = 40.0
PARALLEL = 6
"""Units of memberlist that run at the same time."""
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


class FalseVerdicts(NamedTuple):
    """Verdicts about nodes that were alive all the time, in so many hours of all nodes together."""

    node_hours: float
    dead: int
    unknown: int = 0

    @property
    def rate(self) -> str:
        """Held dead in a node-hour."""
        return f"{self.dead / self.node_hours:.3g}"


def false_verdicts(count: int, loss: float, node_hours: float, seed: int = 7) -> FalseVerdicts:
    """A unit of ``count`` nodes."""
    unit = _site(count, loss, seed)
    before = len(unit.seen)
    unit.run(node_hours / count * 3600)
    verdicts = [each.verdict for each in unit.seen[before:]]
    return FalseVerdicts(node_hours, verdicts.count(Verdict.DEAD), verdicts.count(Verdict.UNKNOWN))


def fleet(units: int, count: int, loss: float, seconds: float) -> FalseVerdicts:
    """Many units, which share nothing but the cloud, a process for each core."""
    hours = count * seconds / 3600
    with ProcessPoolExecutor(initializer=_remember_choices) as pool:
        waiting = [pool.submit(false_verdicts, count, loss, hours, seed) for seed in range(1, units + 1)]
        found = [each.result() for each in waiting]
    return FalseVerdicts(*map(sum, zip(*found, strict=True)))


def _remember_choices() -> None:
    """Units of the same names choose the same witnesses: do not choose them again."""
    choose = lru_cache(maxsize=None)(probed_by)
    cast(Any, voter).probed_by = lambda node, members, count: choose(node, tuple(members), count)


def memberlist(program: str, count: int, loss: float, calm: str, wait: str = "0") -> dict[str, Any]:
    """One run of the peer; without ``wait`` nobody dies."""
    command = [program, "--nodes", str(count), "--loss", str(loss), "--calm", calm, "--wait", wait]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def memberlist_false(program: str, count: int, loss: float, seconds: int) -> FalseVerdicts:
    """PARALLEL units at the same time."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        runs = [pool.submit(memberlist, program, count, loss, f"{seconds}s") for _ in range(PARALLEL)]
        dead = sum(run.result()["false"] for run in runs)
    return FalseVerdicts(PARALLEL * count * seconds / 3600, dead)


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


def _false(peer: str, hours: dict[float, float]) -> None:
    table = Table(
        "loss", "node-hours", "held dead", "a node-hour", "not known", "memberlist: node-hours", "held dead",
        "a node-hour", title="false verdicts: units of 10 nodes, all alive",
    )  # fmt: skip
    for loss, node_hours in hours.items():
        own = false_verdicts(10, loss, node_hours)
        row = [f"{loss:.0%}", f"{own.node_hours:g}", str(own.dead), own.rate, str(own.unknown)]
        if peer:
            other = memberlist_false(peer, 10, loss, 60)
            row += [f"{other.node_hours:.3g}", str(other.dead), other.rate]
        table.add_row(*row)
    console.print(table)


def _fleet() -> None:
    table = Table("loss", "node-hours", "held dead", "not known", title="20 units of 500 nodes, all alive")
    for loss in (0.1, 0.3):
        own = fleet(20, 500, loss, 60.0)
        table.add_row(f"{loss:.0%}", f"{own.node_hours:.0f}", str(own.dead), str(own.unknown))
    console.print(table)


TABLES = ("deaths", "costs", "false", "fleet", "webhook")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--long", action="store_true", help="as many hours as the targets name, and the fleet"
    )
    parser.add_argument("--alone", action="store_true", help="without memberlist")
    parser.add_argument("--only", choices=TABLES, help="this table alone")
    arguments = parser.parse_args()
    wanted = (
        [arguments.only] if arguments.only else [each for each in TABLES if arguments.long or each != "fleet"]
    )
    peer = "" if arguments.alone else _built()
    if "deaths" in wanted:
        _deaths(peer, 9 if arguments.long else 3)
    if "costs" in wanted:
        _costs(peer)
    if "false" in wanted:
        short, long = {0.01: 10.0, 0.1: 10.0, 0.3: 10.0}, {0.01: 100.0, 0.1: 1000.0, 0.3: 100.0}
        _false(peer, long if arguments.long else short)
    if "fleet" in wanted:
        _fleet()
    if "webhook" in wanted:
        half, most = percentiles(rate=200, seconds=5.0)
        console.print(f"webhook at 200 requests a second: p50 {half * 1000:.1f} ms, p99 {most * 1000:.1f} ms")


if __name__ == "__main__":
    main()
