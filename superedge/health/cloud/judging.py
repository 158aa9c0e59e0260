"""What the judging replica does while it holds the Lease."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from socket import gethostname
from time import time
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.task import deferLater
from twisted.logger import Logger

from superedge.config.health import EdgeAdmissionConfig
from superedge.health import metrics
from superedge.health.cloud.admission.proof import Enforcement, Proof, Unproven
from superedge.health.cloud.assessment import Settings
from superedge.health.cloud.cluster import NodeFacts, NodeLease, Scope, read_lease, read_node, read_scope
from superedge.health.cloud.judge import Judge
from superedge.health.cloud.keeping import NAME as KEPT_NODES
from superedge.health.cloud.keeping import KeptNodes, read_entries
from superedge.health.cloud.mending import Mender
from superedge.health.cloud.publishing import MANAGER, VerdictPublisher
from superedge.health.cloud.streams import NodeStreams
from superedge.health.votes.decisions import Outcome
from superedge.health.votes.signing import Verifier
from superedge.interfaces import IReactor
from superedge.kube.client import CONFIGMAPS, LEASES, NODES, IKubeClient, Problems
from superedge.kube.errors import DecodeError
from superedge.kube.events import EventRecorder
from superedge.kube.reflector import Key, Reflector
from superedge.reactor.backoff import Backoff
from superedge.reactor.loops import Loop

NODE_LEASES = "kube-node-lease"
LOOK = 10.0
"""Seconds between two checks whether the enforcement's objects have changed."""
URGENT = 2.0
"""Seconds between two proofs while a node waits to be mended: its pods' tolerations may be short."""
LONGEST_PROOF = 120.0
"""Seconds that a proof of the enforcement takes at most: some requests, each with its own time limit."""

_log = Logger()


class Judging(MultiService):
    """Watches the cluster, receives ballots, judges, and writes the results."""

    def __init__(
        self,
        reactor: IReactor,
        config: EdgeAdmissionConfig,
        enforcement: Enforcement,
        client: IKubeClient,
        namespace: str,
        streams: Any,
        verifier: Verifier,
        wall: Callable[[], float] = time,
    ) -> None:
        """``wall`` gives seconds since 1970."""
        super().__init__()
        self._reactor = reactor
        self._config = config
        self._enforcement = enforcement
        names = frozenset(config.units)
        self._default = self._scope = Scope(config.unit_label, None if "*" in names else names)
        settings = Settings(
            config.witnesses,
            config.minimum_witnesses,
            config.keep_unknown_seconds,
        )
        self.judge = Judge(reactor, verifier, settings, self._changed, self._ask, self._regrouped, wall)
        self._streams = NodeStreams(reactor, streams, self.judge, verifier)
        self._kept = KeptNodes(reactor, client, namespace, wall)
        events = EventRecorder(client, MANAGER, gethostname(), wall)
        self._publisher = VerdictPublisher(reactor, client, self.judge, events, config.failover, wall)
        self._mender = Mender(reactor, client, self.judge, self._in_force, wall)
        self._queues = (self._kept.queue, self._publisher.queue, self._mender.queue)
        self._proof = Proof(reactor, client, self._kept, enforcement)
        self._beginning = Loop(reactor, "starting to judge", self._begin)
        self._proving = Loop(
            reactor, "proving the enforcement of edge health", self._prove_again, LONGEST_PROOF
        )
        self._blind = False
        self.fault = "the process has just begun to judge"
        """Why the enforcement does not work; empty when it does."""
        self._nodes: Reflector[NodeFacts] = Reflector(
            reactor, client, NODES.path(), read_node, self._node_changed
        )
        self._leases: Reflector[NodeLease] = Reflector(
            reactor, client, LEASES.path(NODE_LEASES), read_lease, self._lease_changed
        )
        self._scopes: Reflector[Scope] = Reflector(
            reactor,
            client,
            CONFIGMAPS.path(namespace),
            self._read_scope,
            self._scope_changed,
            field_selector=f"metadata.name={config.config_map}",
        )
        self._entries: Reflector[dict[str, str]] = Reflector(
            reactor,
            client,
            CONFIGMAPS.path(namespace),
            read_entries,
            lambda key, entries: self._kept.observed(entries),
            field_selector=f"metadata.name={KEPT_NODES}",
        )
        self._reflectors: dict[str, Reflector[Any]] = {
            f"the ConfigMap {config.config_map}": self._scopes,
            "Nodes": self._nodes,
            f"Leases in {NODE_LEASES}": self._leases,
            f"the ConfigMap {KEPT_NODES}": self._entries,
        }

    def startService(self) -> None:
        """Read the cluster, then judge."""
        super().startService()
        self._in_force_metric(False)
        for reflector in self._reflectors.values():
            reflector.startService()
        self._beginning.start()

    def sessions_changed(self) -> None:
        """Sessions of nodes started or ended."""
        self._streams.look()

    def reconnect(self) -> None:
        """Open all streams anew."""
        self._streams.reconnect()

    async def stopService(self) -> None:
        """Stop. Nothing that was written is removed."""
        self._beginning.stop()
        self._proving.stop()
        for reflector in self._reflectors.values():
            reflector.stopService()
        for queue in self._queues:
            queue.stopService()
        self.judge.stop()
        if self._streams.running:
            self._streams.stopService()
        for gauge in (metrics.ENFORCEMENT, metrics.NODES, metrics.OUTCOMES):
            gauge.clear()  # the next judge has these from now on
        await super().stopService()

    async def _begin(self) -> None:
        for what, reflector in self._reflectors.items():
            self.fault = f"{what} could not be read yet"
            await reflector.when_synced()
        self.fault = "it has not been proven yet"
        if not self._scopes.objects:
            self.judge.scope_changed(self._default)
        self.judge.start()
        for queue in self._queues:  # not earlier: half of the facts look like another state
            queue.startService()
        self._streams.startService()
        self._kept.begin()
        self._proving.start()

    async def _prove_again(self) -> None:
        backoff = Backoff(initial=10.0, maximum=60.0, initial_attempts=3)
        while True:
            rules = await self._rules()
            await self._prove()
            now = self._reactor.seconds()
            due = now + backoff.failed(now) if self.fault else inf
            if not self.fault:
                backoff.reset()
            self._proving.iteration_done(LONGEST_PROOF)
            await deferLater(self._reactor, URGENT)
            while not self._urgent and self._reactor.seconds() < due and await self._rules() in (rules, None):
                self._proving.iteration_done(LONGEST_PROOF)
                await self._pause(min(LOOK, due - self._reactor.seconds()))

    async def _pause(self, seconds: float) -> None:
        """Wait so long, or until a proof is urgent."""
        end = self._reactor.seconds() + seconds
        while not self._urgent and self._reactor.seconds() < end:
            await deferLater(self._reactor, 1.0)

    @property
    def _urgent(self) -> bool:
        """Whether a kept node was evicted in spite of its entry, or waits for a proof to be mended."""
        return self._mender.doubtful or bool(self.fault and len(self._mender.queue))

    async def _rules(self) -> list[tuple[str, int]] | None:
        """The state of the enforcement's objects; None when it cannot be read."""
        try:
            found = await self._proof.rules()
        except Problems as problem:
            if not self._blind:
                _log.warn("whether the enforcement has changed cannot be read: {problem}", problem=problem)
            self._blind = True
            return None
        self._blind = False
        return found

    async def _prove(self) -> None:
        before = self.fault
        try:
            await self._proof.run()
        except Unproven as problem:
            self.fault = str(problem)
        except Problems as problem:
            self.fault = f"it could not be proven: {problem}"
        else:
            self.fault = ""
        self._mender.doubtful = False
        if self.fault != before:
            if self.fault:
                _log.error(
                    "enforcement does not work, Kubernetes evicts nodes that lose the cloud: {fault}",
                    fault=self.fault,
                )
            else:
                _log.info("enforcement works: nodes that their peers reach are kept")
        self._in_force_metric(not self.fault)
        for name in self.judge.nodes():
            self._mender.consider(name)

    def _in_force_metric(self, works: bool) -> None:
        metrics.ENFORCEMENT.labels(self._enforcement).set(1 if works else 0)

    def _in_force(self, node: str) -> bool:
        return not self.fault and self._kept.holds(node)

    # -- changes

    def _node_changed(self, key: Key, node: NodeFacts | None) -> None:
        self.judge.node_changed(key.name, node)
        self._publisher.queue.add(key.name)
        self._mender.consider(key.name)

    def _lease_changed(self, key: Key, lease: NodeLease | None) -> None:
        self.judge.lease_changed(key.name, lease)

    def _read_scope(self, raw: bytes) -> Scope:
        try:
            return read_scope(raw, self._default)
        except DecodeError as problem:
            _log.error(
                "ConfigMap {name}: {problem}; the units stay as they were",
                name=self._config.config_map,
                problem=problem,
            )
            return self._scope

    def _scope_changed(self, key: Key, scope: Scope | None) -> None:
        if key.name == self._config.config_map:
            self._scope = scope or self._default
            self.judge.scope_changed(self._scope)

    def _ask(self, name: str) -> None:
        self._streams.ask(name)

    def _regrouped(self, unit: str) -> None:
        self._streams.regrouped(unit)

    def _changed(self, name: str) -> None:
        assessment = self.judge.assessment(name)
        self._kept.keep(name, assessment is not None and assessment.outcome is Outcome.KEEP)
        self._publisher.queue.add(name)
        self._mender.consider(name)

    def waits_for(self) -> str:
        """What has not been read yet, and why."""
        return "; ".join(each.problem or what for what, each in self._reflectors.items() if not each.synced)

    def status(self) -> dict[str, Any]:
        """For the status page."""
        return {
            "enforcement": self._enforcement,
            "enforcement_fault": self.fault,
            "units": self.judge.status(),
        }
