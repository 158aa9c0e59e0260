"""The service on each edge node: probes peers, votes, exchanges ballots."""

from __future__ import annotations

from time import time
from typing import Any

from twisted.application.service import MultiService
from twisted.logger import Logger

from superedge.config.addresses import TCPAddress, parse_address
from superedge.config.health import EdgeHealthConfig
from superedge.errors import ConfigError, IdentityError
from superedge.health import metrics
from superedge.health.edge.exchange import Exchange
from superedge.health.edge.links import PeerLinks
from superedge.health.edge.prober import Prober
from superedge.health.edge.probes.probeset import ConfiguredProbe, ProbeSet
from superedge.health.edge.unitfile import UnitFile
from superedge.health.edge.uplink import UplinkHandler
from superedge.health.edge.voter import Voter
from superedge.health.votes.ballot import Opinion
from superedge.health.votes.messages import Unit
from superedge.health.votes.reference import ReferenceClock
from superedge.health.votes.signing import NodeOf, Signer, Verifier
from superedge.health.votes.timing import Timing
from superedge.interfaces import IHealthChecker, IHealthProbe, IReactor
from superedge.plugin import find_plugin, make_with
from superedge.reactor.periodic import PeriodicCall
from superedge.tls.identity import load_identity
from superedge.tls.reload import FileWatcher

LOOK = 5.0
"""Seconds between two updates of the metrics."""

_log = Logger()


class EdgeHealth(MultiService):
    """The edge node's part of edge health. ``handler`` serves the streams that the cloud opens."""

    name = "edge-health"

    def __init__(
        self, reactor: IReactor, config: EdgeHealthConfig, watcher: FileWatcher, node_of: NodeOf
    ) -> None:
        """Raises SuperEdgeError when files or probes are not usable."""
        super().__init__()
        own = load_identity(config.certificate, config.key)
        node = node_of(own.name, own.organizations, own.serial)
        if node is None:
            raise ConfigError("edge_health.certificate", "", f"{config.certificate} is no node's certificate")
        self._reactor = reactor
        self._timing = Timing(config.period)
        self._clock = ReferenceClock(time, reactor.seconds)
        self._signer = Signer(config.certificate, config.key)
        self._voter = Voter(node, self._signer, self._clock, self._timing, config.healthcheckscoreline)
        verifier = Verifier(config.ca, node_of)
        self._probe_set = ProbeSet(
            reactor, _probes(reactor, config), lambda name: self._voter.member(name) is not None
        )
        self._file = UnitFile(config.state)
        address = parse_address(config.listen)
        assert isinstance(address, TCPAddress)
        self._exchange = Exchange(
            reactor, self._voter, self._clock, verifier, self._timing, self._joined, address.port
        )
        self._prober = Prober(
            reactor, self._voter, self._probe_set.score, self._exchange.changed, config.period
        )
        self.links = PeerLinks(
            reactor,
            self._exchange,
            config.listen,
            config.certificate,
            config.key,
            config.ca,
            watcher,
            node_of,
        )
        self._exchange.dialler = self.links
        self.handler = UplinkHandler(self._exchange.uplink)
        for service in (self.links, self._exchange, self._prober):
            service.setServiceParent(self)
        self._metering = PeriodicCall(reactor, LOOK, self._meter)

        def renewed() -> None:
            new = load_identity(config.certificate, config.key)
            if node_of(new.name, new.organizations, new.serial) != node:
                raise IdentityError(config.certificate, f"is not of {node}: the process must be restarted")
            self._signer.load(config.certificate, config.key)
            self._exchange.changed()

        watcher.watch([config.certificate, config.key], renewed)

        def forget_voters() -> None:
            verifier.reload()
            self._exchange.relink()

        watcher.watch(config.ca, forget_voters)

    def startService(self) -> None:
        """Start with the stored unit."""
        unit = self._file.read()
        if unit is not None:
            self._take(unit)
        super().startService()
        self._metering.start(now=True)

    def stopService(self) -> Any:
        """Stop."""
        self._metering.stop()
        self._probe_set.close()
        return super().stopService()

    def _joined(self, unit: Unit) -> None:
        if unit != self._voter.unit:
            self._take(unit)
            self._file.write(unit)
            if not unit.members:
                _log.info("this node is in no unit that is checked: it probes nobody")
                return
            _log.info(
                "unit {unit!r} has {count} members, of which this node probes {peers}",
                unit=unit.name,
                count=len(unit.members),
                peers=len(self._voter.peers),
            )

    def _take(self, unit: Unit) -> None:
        self._prober.probe(self._voter.join(unit))
        self._exchange.rejoin()

    def _meter(self) -> None:
        said = [state.opinion for state in self._voter.peers.values()]
        for opinion in Opinion:
            metrics.PEERS.labels(opinion.name.lower()).set(said.count(opinion))
        metrics.LOCAL_HEALTH.set(self._voter.local.level)
        metrics.HOPS.set(self._exchange.hops)

    def status(self) -> dict[str, Any]:
        """The data of the status page and of `superedge health`."""
        now = self._reactor.seconds()
        own = {
            "voter": self._voter.name,
            "issued": self._clock.now(),
            "rows": [
                {"peer": row.peer, "says": row.opinion.name.lower(), "score": row.score, "age": row.age}
                for row in self._voter.rows(now)
            ],
        }
        return {
            "node": self._voter.name,
            "unit": self._voter.unit.name,
            "members": [member.name for member in self._voter.unit.members],
            "own": own,
            **self._exchange.status(),
        }


def _probes(reactor: IReactor, config: EdgeHealthConfig) -> list[ConfiguredProbe]:
    found = []
    for probe, weight in zip(config.probes, config.weights(), strict=True):
        plugin = find_plugin(IHealthProbe, probe.kind, "edge_health.probes", "kind")
        checker = make_with(
            plugin, IHealthChecker, f"edge_health.probes: {probe.kind}", reactor, probe.options
        )
        found.append(ConfiguredProbe(probe.kind, checker, weight, probe.timeout, probe.retries, probe.port))
    return found
