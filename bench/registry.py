"""``python -m bench.registry [NODES REPLICAS]``: the replicas' registry on a simulated clock and API server.

Prints, for each phase of a cluster's life, what the registry writes and how long after a change every replica
leads to the right one. The replicas' clocks are wrong by up to half a minute; the API server takes 10 ms for
an answer and for an event; the end of an old session is noticed up to 20 s late.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from superedge.config.addresses import TCPAddress
from superedge.testing.inprocess import InProcessAPI
from superedge.tunnel.messages import Hello
from superedge.tunnel.nodetable import NodeSession, NodeTable
from superedge.tunnel.replicas.registry import KubernetesRegistry, OwnReplica

NAMESPACE = "superedge"
START = 1_764_053_296.0
SKEW = 30.0
STEP = 0.05
NOTICED_LATE = 20.0


@dataclass(eq=False)
class Replica:
    """One replica: its table of sessions and its registry."""

    name: str
    table: NodeTable
    registry: KubernetesRegistry = field(init=False)
    alive: bool = True


class Phase(NamedTuple):
    """What happened between two moments. Times in seconds."""

    name: str
    seconds: float
    node_writes: int
    lease_writes: int
    events: int
    converged: list[float]
    cpu: float


class Simulation:
    """``nodes`` edge nodes on ``replicas`` cloud ends."""

    def __init__(self, nodes: int, replicas: int, seed: int = 1, lease: int = 15) -> None:
        self.clock = Clock()
        self.random = Random(seed)
        self.api = InProcessAPI(self.clock, latency=0.01)
        collections = self.api.registry.find("", "v1", "namespaces")
        assert collections is not None
        client = self.api.client()
        Deferred.fromCoroutine(
            client.call("POST", "/api/v1/namespaces", body={"metadata": {"name": NAMESPACE}})
        )
        self.clock.advance(1)
        self.names = [f"edge-{number}" for number in range(nodes)]
        self.truth: dict[str, tuple[Replica, NodeSession]] = {}
        self.waiting: dict[str, float] = {}
        self.converged: list[float] = []
        self.replicas = [self._replica(number, lease) for number in range(replicas)]
        self.phases: list[Phase] = []

    def _replica(self, number: int, lease: int) -> Replica:
        skew = self.random.uniform(-SKEW, SKEW)
        table = NodeTable(lambda: START + self.clock.seconds() + skew)
        made = Replica(f"cloud-{number}", table)
        own = OwnReplica(
            made.name, NAMESPACE, TCPAddress(made.name, 51002), (f"192.0.2.{number + 1}",), lease
        )
        made.registry = KubernetesRegistry(
            self.clock,
            self.api.client(),
            own,
            table,
            lambda node, epoch: self._superseded(made, node),
            lambda: START + self.clock.seconds() + skew,
            Random(self.random.random()),
        )
        made.registry.startService()
        return made

    # -- what happens

    def connect(self, node: str, replica: Replica | None = None) -> None:
        """The node makes a new session; the end of the one before is noticed later."""
        living = [each for each in self.replicas if each.alive]
        chosen = replica or self.random.choice(living)
        session = NodeSession(node, chosen.table.next_epoch(), Hello("1"), [])
        before = self.truth.get(node)
        self.truth[node] = (chosen, session)
        self.waiting.setdefault(node, self.clock.seconds())
        chosen.table.add(session)
        if before is not None and before[0] is not chosen:
            delay = self.random.uniform(0, NOTICED_LATE)
            self.clock.callLater(delay, before[0].table.remove, before[1])

    def _superseded(self, replica: Replica, node: str) -> None:
        session = replica.table.get(node)
        if session is None:
            return
        replica.table.remove(session)
        if self.truth[node][1] is session:
            # The clocks have decided wrongly: the edge is sent away and comes back.
            self.clock.callLater(0.2, self.connect, node)

    def kill(self, replica: Replica) -> list[str]:
        """The process is gone without a word; its nodes come back elsewhere within 3 s. Which these are."""
        replica.alive = False
        registry = replica.registry
        registry._leases.stopService()
        registry._shards.stopService()
        registry._publisher.stop()
        registry._renewal.stop()
        lost = [node for node, (holder, _) in self.truth.items() if holder is replica]
        for node in lost:
            self.waiting[node] = self.clock.seconds()
            self.clock.callLater(self.random.uniform(0.2, 3), self.connect, node)
        return lost

    # -- how it goes on

    def leads(self, replica: Replica, node: str) -> str:
        """The replica to which a request for the node goes that lands on this one."""
        session = replica.table.get(node)
        routes = replica.registry.routes(node)
        if session is not None and not (routes and routes[0].epoch > session.epoch):
            return replica.name
        return routes[0].replica.name if routes else ""

    def wrong(self, nodes: Iterable[str]) -> list[str]:
        """The nodes that some living replica does not lead to the right one."""
        living = [replica for replica in self.replicas if replica.alive]
        return [
            node
            for node in nodes
            if any(self.leads(replica, node) != self.truth[node][0].name for replica in living)
            or not self.truth[node][0].alive
        ]

    def run(self, seconds: float) -> None:
        """Let time pass; note when each change is known everywhere."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(STEP)
            if self.waiting:
                wrong = set(self.wrong(self.waiting))
                for node in [node for node in self.waiting if node not in wrong]:
                    self.converged.append(self.clock.seconds() - self.waiting.pop(node))

    def phase(self, name: str, seconds: float) -> Phase:
        """Let time pass and sum up."""
        writes, events, started = dict(self.api.writes), len(self.converged), time.process_time()
        self.run(seconds)
        found = Phase(
            name,
            seconds,
            self.api.writes.get("configmaps", 0) - writes.get("configmaps", 0),
            self.api.writes.get("leases", 0) - writes.get("leases", 0),
            len(self.converged) - events,
            sorted(self.converged[events:]),
            time.process_time() - started,
        )
        self.phases.append(found)
        return found

    def life(self) -> None:
        """Everybody connects; nothing happens; nodes move; a replica dies; the API server goes away."""
        for node in self.names:
            self.clock.callLater(self.random.uniform(0, 20), self.connect, node)
        self.phase("all connect within 20 s", 30)
        self.phase("nothing happens", 60)
        for node in self.random.sample(self.names, max(1, len(self.names) // 100)):
            self.clock.callLater(self.random.uniform(0, 60), self.connect, node)
        self.phase("1 % of the nodes move", 90)
        self.kill(self.replicas[0])
        self.phase("a replica is killed", 60)
        self.api.available = False
        for node in self.random.sample(self.names, max(1, len(self.names) // 100)):
            self.clock.callLater(self.random.uniform(0, 30), self.connect, node)
        self.phase("1 % move while the API server is away", 60)
        self.api.available = True
        # What is known of the moves meanwhile counts from here.
        self.waiting = dict.fromkeys(self.waiting, self.clock.seconds())
        self.phase("it is back", 60)


def main() -> None:
    """Simulate and print."""
    nodes, replicas = (int(text) for text in sys.argv[1:3]) if len(sys.argv) > 2 else (10_000, 30)
    simulation = Simulation(nodes, replicas)
    simulation.life()
    table = Table(title=f"{nodes} nodes on {replicas} replicas, clocks wrong by up to {SKEW:g} s")
    for head in ("", "node writes/min", "lease writes/min", "changes", "known after p50", "max", "CPU s/min"):
        table.add_column(head, justify="left" if not head else "right")
    for phase in simulation.phases:
        minutes, known = phase.seconds / 60, phase.converged
        table.add_row(
            phase.name,
            f"{phase.node_writes / minutes:.0f}",
            f"{phase.lease_writes / minutes:.0f}",
            str(phase.events),
            f"{known[len(known) // 2]:.2f} s" if known else "",
            f"{known[-1]:.2f} s" if known else "",
            f"{phase.cpu / minutes:.1f}",
        )
    Console(width=120).print(table)
    left = simulation.wrong(simulation.names)
    if left:
        sys.exit(f"{len(left)} nodes are led wrongly at the end")


if __name__ == "__main__":
    main()
