"""``python -m bench.ipam``: ADD and DEL as processes, one plugin and the other in turn; and kill -9."""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import IO, Any, NamedTuple

from rich.table import Table

from bench.harness import console
from superedge.netsnapshot.ipam import hostlocal, singlefile
from superedge.netsnapshot.ipam.store import Store
from superedge.netsnapshot.ipam.verification import problems

PEER = "/usr/lib/cni/host-local"
PYTHON = "/usr/bin/python3"
PODS = 200
CROWD = 1000


class Plugin:
    """One of the two, with a network and files of its own."""

    def __init__(self, name: str, program: str, directory: Path) -> None:
        self.name = name
        self.program = program
        self.data = directory / name
        self.configuration = directory / f"{name}.json"
        ipam = {"type": name, "dataDir": str(self.data), "ranges": [[{"subnet": "10.1.0.0/16"}]]}
        self.configuration.write_text(json.dumps({"cniVersion": "1.0.0", "name": "bench", "ipam": ipam}))

    def start(
        self, command: str, number: int, pod: int | None = None, output: int | IO[bytes] = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        """Run it for a container of a pod, by default each of its own."""
        pod = number if pod is None else pod
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": f"{number:064x}",
            "CNI_NETNS": "/run/netns/bench",
            "CNI_NETNS_OVERRIDE": "1",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/usr/lib/cni",
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=p{pod};K8S_POD_UID=u{pod}",
        }
        with self.configuration.open() as stdin:
            return subprocess.Popen([self.program], stdin=stdin, stdout=output, env=environment)

    def time(self, command: str, number: int) -> Cost:
        """One call, from exec to exit."""
        return cost(lambda: self.start(command, number))


class Cost(NamedTuple):
    """Milliseconds of a process: on the clock, and of the processor."""

    wall: float
    cpu: float


def cost(start: Callable[[], subprocess.Popen[bytes]]) -> Cost:
    """Run one process. Ends the run when it fails."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = start()
    if process.wait():
        sys.exit(f"bench: {process.args!r} failed")
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall * 1000, cpu * 1000)


def bare() -> subprocess.Popen[bytes]:
    """An interpreter that does nothing."""
    return subprocess.Popen([PYTHON, "-ISc", "pass"])


def at_once(start: Any, numbers: Sequence[int]) -> float:
    """Milliseconds until the last of many processes ends."""
    started = time.perf_counter()
    processes = [start(number) for number in numbers]
    failed = sum(process.wait() != 0 for process in processes)
    if failed:
        sys.exit(f"bench: {failed} of {len(processes)} processes failed")
    return (time.perf_counter() - started) * 1000


def show(costs: list[Cost]) -> tuple[str, str]:
    """The median and the 99th percentile by the clock; the processor time of one."""
    ordered = sorted(each.wall for each in costs)
    cpu = sum(each.cpu for each in costs) / len(costs)
    return f"{ordered[len(ordered) // 2]:.1f}, {ordered[int(len(ordered) * 0.99)]:.1f} ms", f"{cpu:.1f} ms"


def sequential(table: Table, plugins: Sequence[Plugin], first: int, count: int, label: str) -> None:
    """ADD and DEL one after the other, the plugins in turn."""
    for command in ("ADD", "DEL"):
        costs: list[list[Cost]] = [[] for _ in range(len(plugins) + 1)]
        for number in range(first, first + count):
            for plugin, mine in zip(plugins, costs, strict=False):
                mine.append(plugin.time(command, number))
            costs[-1].append(cost(bare))
        walls, cpus = zip(*map(show, costs), strict=True)
        table.add_row(f"{command}{label}: p50, p99", *walls)
        table.add_row(f"{command}{label}: processor", *cpus)


def kills(plugin: Plugin, count: int) -> str:
    """kill -9 at random instants of ADD and DEL; afterwards every pod has the address that it had."""
    chance = Random(count)
    held: dict[int, str] = {}
    killed = 0
    for number in range(count):
        pod = number % 20
        process = plugin.start(chance.choice(("ADD", "DEL")), 10_000 + number, pod)
        try:
            process.wait(chance.uniform(0.001, 0.03))
        except subprocess.TimeoutExpired:
            process.kill()
            killed += process.wait() < 0
        with tempfile.TemporaryFile() as output:
            process = plugin.start("ADD", 20_000 + number, pod, output)
            if process.wait():
                sys.exit(f"bench: ADD after kill {number} failed")
            output.seek(0)
            address = json.load(output)["ips"][0]["address"]
        if held.setdefault(pod, address) != address:
            sys.exit(f"bench: pod {pod} lost {held[pod]} after kill {number}")
        if len(set(held.values())) < len(held):
            sys.exit(f"bench: {address} has two holders after kill {number}")
    with Store(str(plugin.data)).open("bench") as file:
        found = [*file.damage(), *problems(file.table, file.files, [])]
    if found:
        sys.exit(f"bench: {found}")
    return f"{killed} of {count} killed before they were done: no duplicate, no lost address"


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.ipam", description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    options = parser.parse_args()
    if not os.path.exists(PEER):
        sys.exit("bench: host-local is not installed: apt-get install containernetworking-plugins")
    with tempfile.TemporaryDirectory(prefix="bench-ipam-") as name:
        directory = Path(name)
        program = directory / "bin" / singlefile.NAME
        subprocess.run([PYTHON, "-m", singlefile.__name__, str(program), PYTHON], check=True)
        own = Plugin("superedge-ipam", str(program), directory)
        plugins = (own, Plugin("host-local", PEER, directory))
        table = Table("", "superedge-ipam", "host-local", "python3 -IS, no program", box=None)
        for number in range(3):
            for plugin in plugins:
                plugin.time("ADD", 90_000 + number)
        sequential(table, plugins, 0, PODS, "")
        walls = [
            at_once(lambda n, p=plugin: p.start("ADD", n), range(1000, 1000 + PODS)) for plugin in plugins
        ]
        walls.append(at_once(lambda _: bare(), range(PODS)))
        table.add_row(f"{PODS} ADDs at once", *(f"{wall:.0f} ms" for wall in walls))
        for plugin in plugins:
            for number in range(CROWD - PODS):
                address = f"10.1.{100 + number // 250}.{number % 250}"
                hostlocal.write(str(plugin.data / "bench" / address), f"{50_000 + number:064x}", "eth0")
        sequential(table, plugins, 4000, PODS // 4, f" beside {CROWD} addresses")
        console.print(table)
        if options.kills:
            console.print(f"kill -9: {kills(own, options.kills)}")


if __name__ == "__main__":
    main()
