"""`python -m bench.grid.node`: what the filter ``grid`` costs, beside the same lite-apiserver without it.

Two lite-apiserver processes are in front of one API server in this process: one filters, one does not. Their
CPU time is compared, so that the load of the machine does not matter much.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from bench.harness import console, cpu_seconds
from superedge.kube.media import JSON, PROTOBUF
from superedge.testing.ports import free_port
from tests.grid.node.case import SITE
from tests.grid.node.client import Reflector
from tests.grid.node.fakeapi import NODES, SERVICES, SLICES, FakeAPI
from tests.liteapiserver.world import NODE, World, until

reactor: Any = installed
SITES, PER_SLICE = 10, 100
FORMS = {"JSON": JSON, "protobuf": PROTOBUF}


def _slice(number: int, nodes: int, serial: int = 0) -> dict[str, Any]:
    """100 endpoints as the controller writes them."""
    endpoints = [
        {
            "addresses": [f"10.{number}.{each}.{serial % 250}"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": f"node-{(number * PER_SLICE + each) % nodes}",
            "targetRef": {
                "kind": "Pod",
                "namespace": "default",
                "name": f"web-7c5ddbdf54-{number:02}{each:03}",
                "uid": f"1a7f1e2c-9a0b-4c56-8f2e-3d1b{number:04}{each:04}",
            },
            "pod": f"web-7c5ddbdf54-{number:02}{each:03}",
            "uid": f"1a7f1e2c-9a0b-4c56-8f2e-3d1b{number:04}{each:04}",
        }
        for each in range(PER_SLICE)
    ]
    labels = {"kubernetes.io/service-name": "web"}
    ports = [{"name": "http", "port": 8080, "protocol": "TCP"}]
    return {"metadata": {"labels": labels}, "addressType": "IPv4", "endpoints": endpoints, "ports": ports}


class Site:
    """The API server, and one lite-apiserver that the world's client functions lead to."""

    def __init__(self, directory: Path, endpoints: int, nodes: int) -> None:
        self.world = World(directory)
        self.api = FakeAPI(self.world.upstream)
        self.endpoints, self.nodes = endpoints, nodes
        for number in range(nodes):
            self.label(number, f"site-{number % SITES}")
        meta = {"annotations": {"topologyKeys": f'["{SITE}"]'}}
        self.api.put(SERVICES, "web", {"metadata": meta}, "default")
        for number in range(endpoints // PER_SLICE):
            self.api.put(SLICES, f"web-{number}", _slice(number, nodes), "default")

    def label(self, number: int, site: str) -> None:
        """A node is in a site."""
        self.api.put(NODES, f"node-{number}", {"metadata": {"labels": {SITE: site}}})

    async def start(self, filtered: bool) -> subprocess.Popen[bytes]:
        """A lite-apiserver process of this world, which `World.connect` reaches from now on."""
        world, port, ops = self.world, free_port(), free_port()
        more = 'filters = ["grid"]\nfilter_options.grid.node = "node-0"\n' if filtered else ""
        config = world.directory / f"edge-{filtered}.toml"
        config.write_text(f"""[ops]
listen = "127.0.0.1:{ops}"
[lite_apiserver]
listen = ["127.0.0.1:{port}"]
certificate = "{world.server_pair.certificate}"
key = "{world.server_pair.key}"
client_ca = ["{world.authority.path}"]
identities = ["{world.pairs}"]
verify_tokens = false
{more}filter_identity = "{NODE}"
[lite_apiserver.upstream]
servers = ["127.0.0.1:{world.upstream.number}"]
ca = ["{world.authority.path}"]
[lite_apiserver.cache]
store = "memory"
""")
        command = [sys.executable, "-m", "superedge.cli.main", "edge", "--config", str(config)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        class Reached:
            addresses = (type("Address", (), {"port": port})(),)

            async def stopService(self) -> None:
                process.kill()
                process.wait()

        world.lite = Reached()  # type: ignore[assignment]
        return process

    async def ready(self) -> None:
        """Until it answers."""
        for _ in range(100):
            try:
                if (await self.world.get(SLICES)).status == 200:
                    return
            except Exception:
                await deferLater(reactor, 0.1)
        raise SystemExit("lite-apiserver does not answer")


async def _measure(filtered: bool, endpoints: int, nodes: int, lists: int, events: int) -> dict[str, float]:
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="superedge-bench-") as name:
        site = Site(Path(name) / "world", endpoints, nodes)
        await site.world.upstream.start()
        process = await site.start(filtered)
        await site.ready()
        for form, media_type in FORMS.items():
            client = Reflector(site.world, media_type)
            connection = await site.world.connect(site.world.node)
            headers = [(b"Accept", media_type.encode())]

            async def ask(connection: Any = connection, headers: Any = headers) -> int:
                answer = await site.world.ask("GET", SLICES, headers, connection=connection)
                return len(answer.body)

            await ask()
            await deferLater(reactor, 2.5)  # what waits to be cached is cached
            before = cpu_seconds(process.pid)
            for number in range(lists):
                # A list that was not seen before.
                site.api.put(SLICES, f"web-{number % 10}", _slice(number % 10, nodes, number + 1), "default")
                found[f"{form}: bytes of a list"] = await ask()
            found[f"{form}: ms a list"] = (cpu_seconds(process.pid) - before) / lists * 1e3
            await client.start()
            await until(lambda: client.holds(client.shown))  # noqa: B023
            wanted = len(client.events) + events
            before = cpu_seconds(process.pid)
            for number in range(events):
                site.api.put(SLICES, "web-0", _slice(0, nodes, number), "default")
                if number % 10 == 9:
                    await deferLater(reactor, 0.001)

            def all_there() -> bool:
                client.read()  # noqa: B023
                return len(client.events) >= wanted  # noqa: B023

            await until(all_there)
            found[f"{form}: us an event"] = (cpu_seconds(process.pid) - before) / events * 1e6
            if filtered:
                found[f"{form}: ms from a label to {endpoints // PER_SLICE} slices"] = await _relabel(
                    site, client
                )
            client.leave()
        process.kill()
        process.wait()
        await site.world.stop()
    return found


async def _relabel(site: Site, client: Reflector) -> float:
    """Milliseconds from a peer's label to the last slice that shows it, the median of ten."""
    taken = []
    for number in range(10):
        client.read()
        seen = len(client.events)
        began = reactor.seconds()
        site.label(5, "site-0" if number % 2 == 0 else "site-5")

        def told(seen: int = seen) -> bool:
            client.read()
            return any(event[0] == "BOOKMARK" for event in client.events[seen:])

        while not told():
            await deferLater(reactor, 0.001)
        taken.append(reactor.seconds() - began)
    return float(median(taken)) * 1e3


async def _main(arguments: argparse.Namespace) -> None:
    options = (arguments.endpoints, arguments.nodes, arguments.lists, arguments.events)
    without = await _measure(False, *options)
    filtered = await _measure(True, *options)
    table = Table(title=f"{arguments.endpoints} endpoints on {arguments.nodes} nodes in {SITES} sites")
    for column in ("CPU of lite-apiserver", "unfiltered", "grid", ""):
        table.add_column(column)
    for key, value in filtered.items():
        peer = without.get(key)
        how = "" if peer is None else f"x{value / peer:.2f}, {value - peer:+.1f}"
        table.add_row(key, "" if peer is None else f"{peer:.1f}", f"{value:.1f}", how)
    console.print(table)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoints", type=int, default=5000)
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--lists", type=int, default=40)
    parser.add_argument("--events", type=int, default=400)
    arguments = parser.parse_args()
    react(lambda _: Deferred.fromCoroutine(_main(arguments)))


if __name__ == "__main__":
    main()
