"""Many replicas on one clock: what `bench.registry` measures, small, with what must be true asserted."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from bench.registry import NAMESPACE, Simulation
from superedge.kube.errors import APIError, Unavailable
from superedge.testing.storage import Collection, Key
from superedge.tunnel.replicas import publisher as publishing
from tests.events import logged

CONFIGMAPS = Collection("", "configmaps")
LEASES = Collection("coordination.k8s.io", "leases")


class RegistryTests(SynchronousTestCase):
    def start(self, nodes: int = 40, replicas: int = 4, seed: int = 1) -> Simulation:
        simulation = Simulation(nodes, replicas, seed)
        simulation.run(1)
        for node in simulation.names:
            simulation.connect(node)
        simulation.run(5)
        self.assertEqual(simulation.wrong(simulation.names), [])
        return simulation

    def published(self, simulation: Simulation) -> dict[str, set[str]]:
        stored = simulation.api.store.snapshot(CONFIGMAPS, NAMESPACE)
        return {each.key.name: set(each.object.get("data") or ()) for each in stored}

    def test_life(self) -> None:
        """Whatever happens, in the end every replica leads to the right one."""
        for seed in range(3):
            simulation = Simulation(60, 4, seed)
            simulation.life()
            self.assertEqual(simulation.wrong(simulation.names), [])
            nothing = simulation.phases[1]
            self.assertEqual(nothing.node_writes, 0, "who does not change costs nothing")
            # What the dead one had published was collected.
            self.assertEqual(
                set(self.published(simulation)),
                {f"superedge-tunnel-cloud-{number}-0" for number in (1, 2, 3)},
            )

    def test_many_changes_are_few_writes(self) -> None:
        simulation = Simulation(300, 1)
        simulation.run(1)
        for number, node in enumerate(simulation.names):
            simulation.clock.callLater(number / 100, simulation.connect, node)
        phase = simulation.phase("3 s", 4)
        self.assertLessEqual(phase.node_writes, 5)
        self.assertEqual(self.published(simulation), {"superedge-tunnel-cloud-0-0": set(simulation.names)})

    def test_a_node_that_is_gone_is_led_to_by_nobody(self) -> None:
        simulation = self.start(10, 3)
        node, *others = simulation.names
        holder, session = simulation.truth[node]
        holder.table.remove(session)
        simulation.run(2)
        for replica in simulation.replicas:
            self.assertEqual(replica.registry.routes(node), [])
            self.assertNotIn(node, replica.registry.nodes())
        self.assertNotIn(node, set.union(*self.published(simulation).values()))
        self.assertEqual(simulation.wrong(others), [])

    def test_a_failure_is_said_once_and_tried_again_ever_more_rarely(self) -> None:
        simulation, events = self.start(), logged(self)
        replica = simulation.replicas[1]
        client = cast(Any, replica.registry)._client
        real, tried = client.call, 0

        async def refuse(method: str, path: str, *arguments: Any, **more: Any) -> bytes:
            nonlocal tried
            if method != "GET" and "configmaps" in path:
                tried += 1
                raise APIError(403, "Forbidden", "no")
            return cast(bytes, await real(method, path, *arguments, **more))

        client.call = refuse
        for node in simulation.names:
            simulation.connect(node, replica)
        simulation.run(60)
        self.assertIn(tried, range(5, 20))
        client.call = real
        simulation.run(15)
        self.assertEqual(simulation.wrong(simulation.names), [])
        said = [formatEvent(event) for event in events]
        self.assertEqual(len([text for text in said if "cannot publish nodes" in text]), 1)
        self.assertEqual(len([text for text in said if "publishing nodes again" in text]), 1)

    def test_while_the_api_server_is_away_everybody_leads_as_before(self) -> None:
        simulation = self.start()
        simulation.api.available = False
        simulation.run(300)
        self.assertEqual(simulation.wrong(simulation.names), [])
        # Back again, nobody takes anybody for dead.
        simulation.api.available = True
        for _ in range(60):
            simulation.run(1)
            self.assertEqual(simulation.wrong(simulation.names), [])

    def test_changes_during_an_outage_come_through_after_it(self) -> None:
        simulation = self.start()
        simulation.api.available = False
        for node in simulation.names[:10]:
            simulation.connect(node)
        simulation.run(60)
        simulation.api.available = True
        simulation.run(40)
        self.assertEqual(simulation.wrong(simulation.names), [])

    def test_the_late_end_of_an_older_session_takes_nothing(self) -> None:
        simulation = self.start(1, 2)
        (node,) = simulation.names
        old, session = simulation.truth[node]
        (new,) = (each for each in simulation.replicas if each is not old)
        simulation.connect(node, new)
        simulation.run(2)
        self.assertIsNone(old.table.get(node), "it was sent away as soon as the newer one was known")
        old.table.add(session)
        old.table.remove(session)
        simulation.run(30)
        self.assertEqual({simulation.leads(each, node) for each in simulation.replicas}, {new.name})

    def test_a_replica_that_was_only_slow(self) -> None:
        """Its records were collected while it could not reach the API server; it makes them anew."""
        simulation = self.start()
        slow = simulation.replicas[2]
        client = cast(Any, slow.registry)._client
        real = client.call

        async def away(*arguments: Any, **more: Any) -> bytes:
            if arguments[0] != "GET":
                raise Unavailable("cut off")
            return cast(bytes, await real(*arguments, **more))

        client.call = away
        simulation.run(60)
        self.assertNotIn(f"superedge-tunnel-{slow.name}-0", self.published(simulation))
        client.call = real
        simulation.run(20)
        self.assertEqual(simulation.wrong(simulation.names), [])

    def test_a_replica_that_leaves(self) -> None:
        simulation = self.start()
        leaving, *rest = simulation.replicas
        done = Deferred.fromCoroutine(leaving.registry.leave())
        simulation.run(1)
        self.successResultOf(done)
        # It still leads to its nodes, as one that nobody should be sent to.
        self.assertEqual(simulation.wrong(simulation.names), [])
        self.assertTrue(
            next(each for each in rest[0].registry.replicas() if each.name == leaving.name).draining
        )
        simulation.connect(simulation.names[0], leaving)  # and what is not written yet never is
        done = Deferred.fromCoroutine(leaving.registry.stopService())
        simulation.run(1)
        self.successResultOf(done)
        for _ in range(2):
            self.assertNotIn(f"superedge-tunnel-{leaving.name}-0", self.published(simulation))
            simulation.run(2)
        self.assertNotIn(leaving.name, [each.name for each in rest[0].registry.replicas()])
        lease = Key(NAMESPACE, f"superedge-tunnel-{leaving.name}")
        self.assertIsNone(simulation.api.store.get(LEASES, lease))

    def test_it_ends_in_time_without_the_api_server(self) -> None:
        simulation, events = self.start(), logged(self)
        leaving = simulation.replicas[0]
        simulation.api.latency = 1000.0
        done = Deferred.fromCoroutine(leaving.registry.leave())
        simulation.run(4)
        self.successResultOf(done)
        done = Deferred.fromCoroutine(leaving.registry.stopService())
        simulation.run(7)
        self.successResultOf(done)
        said = {formatEvent(event) for event in events if event.get("what")}
        self.assertIn("this replica could not remove its Lease: no answer within 3 s", said)

    def test_more_nodes_than_one_configmap_holds(self) -> None:
        self.patch(publishing, "SHARD_BYTES", 1000)
        simulation = Simulation(40, 2)
        simulation.run(1)
        for node in simulation.names:
            simulation.connect(node, simulation.replicas[0])
        simulation.run(10)
        self.assertEqual(simulation.wrong(simulation.names), [])
        parts = {name: nodes for name, nodes in self.published(simulation).items() if "cloud-0" in name}
        self.assertEqual(set.union(*parts.values()), set(simulation.names))
        self.assertEqual(sum(map(len, parts.values())), len(simulation.names))
        self.assertGreater(len(parts), 2)
        for stored in simulation.api.store.snapshot(CONFIGMAPS, NAMESPACE):
            self.assertLess(len(stored.json), 3000)
        # A successor of the same name, with fewer nodes, leaves nothing of it.
        simulation.kill(simulation.replicas[0])
        simulation.replicas[0] = simulation._replica(0, 15)
        simulation.run(10)
        self.assertEqual(simulation.wrong(simulation.names), [])
        parts = {name: nodes for name, nodes in self.published(simulation).items() if "cloud-0" in name}
        here = {node for node, (holder, _) in simulation.truth.items() if holder is simulation.replicas[0]}
        self.assertEqual(set.union(*parts.values()), here)

    def test_what_somebody_else_wrote_into_it(self) -> None:
        simulation = self.start()
        name = "superedge-tunnel-cloud-1-0"
        client = simulation.api.client()
        path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/{name}"
        patch = {"data": {"ghost": "99 never"}}
        Deferred.fromCoroutine(
            client.call("PATCH", path, body=patch, content_type="application/merge-patch+json")
        )
        simulation.run(1)
        simulation.connect(simulation.names[0], simulation.replicas[1])
        simulation.run(3)
        self.assertNotIn("ghost", self.published(simulation)[name])
        self.assertEqual(simulation.wrong(simulation.names), [])
