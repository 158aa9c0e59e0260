"""Who holds an address survives a restart of the cloud end."""

from __future__ import annotations

import json

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.kube.client import CONFIGMAPS, NODES
from superedge.kube.errors import APIError
from superedge.kube.nodes import Node, NodeIndex, Ranges, RefusedClaim, read_node
from superedge.kube.reflector import Key, Reflector
from superedge.testing.inprocess import InProcessAPI, InProcessClient
from superedge.tunnel.addressrecords import AddressRecords

RANGES = Ranges(["192.0.2.0/24"], ["10.64.0.0/16"])


class CloudEnd:
    """The part of a cloud end that knows nodes' addresses."""

    def __init__(self, api: InProcessAPI, client: InProcessClient | None = None) -> None:
        client = client or api.client()
        self.refused: list[RefusedClaim] = []
        self.index = index = NodeIndex(RANGES, self.refused.append, lambda node: self.records.changed(node))

        def changed(key: Key, node: Node | None) -> None:
            if node is None:
                index.remove(key.name)
            else:
                index.put(node)

        self.nodes = Reflector(api.reactor, client, NODES.path(), read_node, changed)
        self.records = AddressRecords(api.reactor, client, "superedge", index, self.nodes.when_synced)
        self.services = [self.nodes, self.records]
        for service in self.services:
            service.startService()

    def stop(self) -> None:
        for service in self.services:
            service.stopService()

    def holder(self, address: str) -> str | None:
        claim = self.index.holder(address)
        return None if claim is None else claim.node


class Forbidding(InProcessClient):
    """A client without the right to read ConfigMaps."""

    async def call(self, method: str, path: str, *args: object, **options: object) -> bytes:
        if "configmaps" in path:
            raise APIError(403, "Forbidden", "no")
        return await InProcessClient.call(self, method, path, *args, **options)  # type: ignore[arg-type]


class AddressRecordsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.api = InProcessAPI(self.clock)
        self.run_(
            self.api.client().call("POST", "/api/v1/namespaces", body={"metadata": {"name": "superedge"}})
        )
        self.claim("thief", "192.0.2.66", "10.64.66.0/24", created=True)
        self.clock.advance(100)  # the thief's Node is the older one
        self.claim("shop", "192.0.2.1", "10.64.1.0/24", created=True)

    def claim(self, node: str, address: str, network: str = "", created: bool = False) -> None:
        """What a node writes into its own object, now."""
        item = {
            "metadata": {"name": node},
            "spec": {"podCIDR": network, "podCIDRs": [network]} if network else {},
        }
        status = {"status": {"addresses": [{"type": "InternalIP", "address": address}]}}
        client = self.api.client()
        if created:
            self.run_(client.call("POST", NODES.path(), body=item))
        patch = "application/merge-patch+json"
        path = NODES.path(name=node)
        self.run_(client.call("PATCH", f"{path}/status", body=status, content_type=patch))

    def run_(self, call: object) -> bytes:
        done: Deferred[bytes] = Deferred.fromCoroutine(call)  # type: ignore[arg-type]
        self.clock.pump([0.01] * 5)
        return self.successResultOf(done)

    def start(self, client: InProcessClient | None = None) -> CloudEnd:
        made = CloudEnd(self.api, client)
        self.addCleanup(made.stop)
        self.clock.pump([0.1] * 30)
        return made

    def stop(self, cloud: CloudEnd) -> None:
        cloud.stop()
        self.clock.pump([0.1] * 5)

    def test_a_claim_made_before_the_restart(self) -> None:
        cloud = self.start()
        self.claim("thief", "192.0.2.1")
        self.clock.pump([0.1] * 20)
        self.assertEqual(cloud.holder("192.0.2.1"), "shop")
        self.stop(cloud)
        again = self.start()
        self.assertTrue(again.records.synced)
        self.assertEqual(again.holder("192.0.2.1"), "shop")
        self.assertEqual(again.refused, [RefusedClaim("thief", "192.0.2.1", "held", "shop")])

    def test_a_claim_made_while_the_cloud_end_is_stopped(self) -> None:
        self.stop(self.start())
        self.claim("thief", "192.0.2.1")
        again = self.start()
        self.assertEqual([again.holder("192.0.2.1"), again.holder("10.64.1.9")], ["shop", "shop"])

    def test_an_address_that_its_holder_gave_up(self) -> None:
        cloud = self.start()
        self.claim("shop", "192.0.2.2")
        self.claim("thief", "192.0.2.1")
        self.clock.pump([0.1] * 20)
        self.stop(cloud)
        again = self.start()
        self.assertEqual([again.holder("192.0.2.1"), again.holder("192.0.2.2")], ["thief", "shop"])

    def test_the_records(self) -> None:
        """ConfigMaps that hold what changed, and no node that is gone."""
        cloud = self.start()
        self.assertEqual(
            self.recorded(), {"shop": "10.64.1.0/24 192.0.2.1", "thief": "10.64.66.0/24 192.0.2.66"}
        )
        self.run_(self.api.client().call("DELETE", NODES.path(name="thief")))
        self.clock.pump([0.1] * 20)
        self.assertEqual(self.recorded(), {"shop": "10.64.1.0/24 192.0.2.1"})
        writes = self.api.writes["configmaps"]
        self.stop(cloud)
        self.start()
        self.assertEqual(self.api.writes["configmaps"], writes)

    def test_an_api_server_that_is_away_at_first(self) -> None:
        self.stop(self.start())
        self.claim("thief", "192.0.2.1")
        self.api.available = False
        cloud = self.start()
        self.assertFalse(cloud.records.synced)
        self.assertIsNone(cloud.holder("192.0.2.1"))
        self.api.available = True
        self.clock.pump([1.0] * 40)
        self.assertEqual(cloud.holder("192.0.2.1"), "shop")

    def test_without_the_right_to_configmaps(self) -> None:
        """Nodes are reached all the same; the older one counts as the first."""
        self.claim("thief", "192.0.2.1")
        cloud = self.start(Forbidding(self.api))
        self.assertEqual(cloud.holder("192.0.2.1"), "thief")
        self.assertTrue(cloud.records.synced)

    def recorded(self) -> dict[str, str]:
        found: dict[str, str] = {}
        answer = self.run_(self.api.client().call("GET", CONFIGMAPS.path("superedge")))
        for item in json.loads(answer)["items"]:
            self.assertEqual(item["metadata"]["labels"], {"tunnel.superedge.io/records": "addresses"})
            found |= item["data"]
        return found
