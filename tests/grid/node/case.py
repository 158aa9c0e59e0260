"""A lite-apiserver with the filter ``grid`` on the node ``edge-1``, in front of a `FakeAPI`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

from superedge.grid.node.filter import create
from superedge.interfaces import IResponseFilter
from tests.grid.node.fakeapi import NODES, SERVICES, SLICES, FakeAPI
from tests.liteapiserver.world import NODE, World, until

SITE = "example.org/site"
FAR = ("edge-1", "edge-2", "far-1", "far-2")


def slice_of(service: str, *nodes: str) -> dict[str, Any]:
    """A slice with an endpoint on each of these nodes, whose address is the node's name."""
    return {
        "metadata": {"labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": [f"on {node}"],
                "conditions": {"ready": True},
                **({"nodeName": node} if node else {}),
            }
            for node in nodes
        ],
        "ports": [{"name": "", "port": 80, "protocol": "TCP"}],
    }


def on(*nodes: str) -> list[str]:
    """The addresses of endpoints on nodes."""
    return [f"on {node}" for node in nodes]


class GridCase(TestCase):
    """Nodes edge-1 and edge-2 are in the site ``near``, the others in the site ``far``."""

    unlabelled = "everything"
    store = "file"

    def filters(self) -> Sequence[IResponseFilter]:
        """The filters in use."""
        return [create({"node": "edge-1", "unlabelled": self.unlabelled})]

    async def setUp(self) -> None:  # type: ignore[override]
        self.world = World(
            Path(self.mktemp()),
            filters=self.filters(),
            filter_identity=NODE,
            store=self.store,
            verify_tokens=False,
        )
        self.upstream = self.world.upstream
        self.api = FakeAPI(self.upstream)
        for name in FAR:
            self.label(name, "near" if name.startswith("edge") else "far")
        self.addCleanup(self.world.stop)
        await self.world.start()

    def label(self, node: str, site: str | None, **more: str) -> None:
        """A node is in a site from now on."""
        labels = {**more, **({SITE: site} if site is not None else {})}
        self.api.put(NODES, node, {"metadata": {"labels": labels}})

    def service(self, name: str, *keys: str) -> None:
        """A Service with these topology keys, or without."""
        annotations = {"topologyKeys": json.dumps(list(keys))} if keys else {}
        self.api.put(SERVICES, name, {"metadata": {"annotations": annotations}}, "default")

    def slice(self, name: str, service: str, *nodes: str) -> None:
        """A slice with endpoints on these nodes."""
        self.api.put(SLICES, name, slice_of(service, *nodes), "default")

    @property
    def followed(self) -> bool:
        """Whether the node knows what the cloud has."""
        assert self.world.lite is not None
        return self.world.lite.following.fresh

    async def outage(self) -> None:
        """The cloud is away."""
        await self.world.go_offline()

    async def recovery(self) -> None:
        """The cloud is back."""
        await self.upstream.start()
        await until(lambda: self.world.state == "online", "online")

    async def restart(self) -> None:
        """Another process takes the place of lite-apiserver, in an outage or not."""
        await self.world.stop_lite()
        await self.world.start_lite()
