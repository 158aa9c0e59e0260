"""Random operations: what clients hold through the filter ``grid`` equals a model of it."""

from __future__ import annotations

from random import Random

from superedge.kube.media import JSON, PROTOBUF
from tests.grid.node.case import FAR, SITE, GridCase, on
from tests.grid.node.client import Reflector
from tests.grid.node.fakeapi import NODES, SERVICES, SLICES
from tests.liteapiserver.world import until

ZONE = "example.org/zone"
SERVICE_NAMES = ("web", "shop")
SLICE_NAMES = ("one", "two", "three")
KEYS: tuple[tuple[str, ...], ...] = ((), (SITE,), (SITE, ZONE), (ZONE,))
STEPS = 50


class DifferentialTests(GridCase):
    """``step`` is one operation; after some the cloud and the node must agree."""

    def model(self) -> dict[str, list[str]]:
        """What the node shows of what the cloud has."""
        labels = {name: item["metadata"]["labels"] for (_, name), item in self.api.objects[NODES].items()}
        own = labels.get("edge-1", {})
        shown = {}
        for (_, name), each in self.api.objects[SLICES].items():
            owner = each["metadata"]["labels"]["kubernetes.io/service-name"]
            service = self.api.objects[SERVICES].get(("default", owner), {"metadata": {}})
            keys = self.keys.get(owner, ()) if service["metadata"] else ()
            nodes = [endpoint.get("nodeName", "") for endpoint in each["endpoints"]]
            if any(key in own for key in keys):
                nodes = [
                    node
                    for node in nodes
                    if any(key in own and labels.get(node, {}).get(key) == own[key] for key in keys)
                ]
            shown[name] = on(*nodes)
        return shown

    def step(self, random: Random) -> None:
        """One change in the cloud."""
        kind = random.randrange(6)
        if kind == 0:
            name, keys = random.choice(SERVICE_NAMES), random.choice(KEYS)
            self.keys[name] = keys
            self.service(name, *keys)
        elif kind == 1:
            site = random.choice(("near", "far", None))
            self.label(random.choice(FAR), site, **{ZONE: random.choice(("1", "2"))})
        elif kind == 2:
            name = random.choice(SLICE_NAMES)
            if ("default", name) in self.api.objects[SLICES]:
                self.api.delete(SLICES, name, "default")
        elif kind == 3:
            self.api.bookmark()
        elif kind == 4 and ("", "far-2") in self.api.objects[NODES] and random.random() < 0.3:
            self.api.delete(NODES, "far-2")
        else:
            nodes = random.sample((*FAR, ""), random.randrange(5))
            self.slice(random.choice(SLICE_NAMES), random.choice(SERVICE_NAMES), *nodes)

    async def run_for(self, seed: int) -> None:
        random = Random(seed)
        self.keys: dict[str, tuple[str, ...]] = {}
        await until(lambda: self.followed)
        clients = [
            Reflector(self.world, JSON),
            Reflector(self.world, PROTOBUF, bookmarks=False),
            Reflector(self.world, PROTOBUF, streaming=True),
        ]
        for client in clients:
            await client.start()
        for number in range(STEPS):
            what = f"seed {seed}, step {number}"
            self.step(random)
            chance = random.random()
            if chance < 0.1:
                random.choice(clients).leave()
            elif chance < 0.2:
                self.api.slow.add(random.choice((SERVICES, NODES)))
            elif chance < 0.3:
                self.api.catch_up()
            elif chance < 0.33:
                await self.restart()
            elif chance < 0.36:
                before = self.model()
                self.api.catch_up()
                for client in clients:
                    await client.until(before, what)
                await self.outage()
                self.step(random)
                if random.random() < 0.5:
                    await self.restart()
                    await until(lambda: self.world.state == "offline")
                    for client in clients:
                        await client.until(before, f"{what}, after a reboot")
                await self.recovery()
            elif chance < 0.5:
                self.api.catch_up()
                wanted = self.model()
                for client in clients:
                    await client.until(wanted, what)
        self.api.catch_up()
        wanted = self.model()
        for client in clients:
            await client.until(wanted, f"seed {seed}, the end")

    async def test_clients_hold_what_the_model_says(self) -> None:
        await self.run_for(1)
