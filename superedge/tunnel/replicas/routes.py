"""Routes: which replica holds a node, as far as this replica knows. Pure: time is an argument.

Clocks of different replicas are never compared. A replica counts as dead when the watch has returned this
replica's own renewals for longer than a lease duration, and none of the other's. So no replica is declared
dead while the API server is unreachable or slow; after such a gap, each replica has a whole lease duration
again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from superedge.tunnel.epochs import EpochClock
from superedge.tunnel.replicas.records import Replica, Shard

_GAP = 2 / 3
"""Part of a lease duration without an own renewal that counts as an outage; a renewal is due each third."""
_NO_NODES: Shard = Shard("")


class Route(NamedTuple):
    """A replica that holds a session of a node, and the session's epoch."""

    replica: Replica
    epoch: int


@dataclass(slots=True)
class _Peer:
    """Another replica. ``seen`` is the reactor time of its last renewal."""

    seen: float
    replica: Replica | None = None
    shards: dict[str, Shard] = field(default_factory=dict)


class RouteTable:
    """The nodes of all other replicas; ``own`` is this replica's name."""

    def __init__(self, own: str, duration: float, epochs: EpochClock) -> None:
        """``duration`` is this replica's lease duration, seconds."""
        self._own = own
        self._duration = duration
        self._epochs = epochs
        self._renewed_at: float | None = None
        self._peers: dict[str, _Peer] = {}
        self._owners: dict[str, str] = {}
        self._claims: dict[str, dict[str, int]] = {}

    def lease_changed(self, name: str, replica: Replica | None, now: float) -> None:
        """A Lease was created, renewed, or (None) deleted; ``name`` is the replica's."""
        if name == self._own:
            if replica is not None:
                self._own_renewal_seen(now)
            return
        peer = self._peers.setdefault(name, _Peer(now))
        if replica is not None and (peer.replica is None or peer.replica.renewed != replica.renewed):
            peer.seen = now
        peer.replica = replica
        self._drop_empty(name)

    def _own_renewal_seen(self, now: float) -> None:
        # The reactor's seconds are the system's clock, which may be set back.
        if self._renewed_at is not None and not 0 <= now - self._renewed_at <= self._duration * _GAP:
            for peer in self._peers.values():
                peer.seen = now
        self._renewed_at = now

    def shard_changed(self, key: str, shard: Shard | None, now: float) -> list[str]:
        """A ConfigMap ``key`` was created, changed, or (None) deleted.

        Return the nodes whose routes changed.
        """
        owner = shard.replica if shard is not None else self._owners.get(key)
        if owner is None or owner == self._own:
            return []
        peer = self._peers.setdefault(owner, _Peer(now))
        before = peer.shards.get(key, _NO_NODES).nodes
        after = shard.nodes if shard is not None else {}
        if shard is None:
            peer.shards.pop(key, None)
            self._owners.pop(key, None)
            self._drop_empty(owner)
        else:
            peer.shards[key] = shard
            self._owners[key] = owner
        changed = before.items() ^ after.items()
        nodes = {node for node, _ in changed}
        for node in nodes:
            epoch = after.get(node)
            if epoch is None:
                claims = self._claims[node]
                del claims[key]
                if not claims:
                    del self._claims[node]
            else:
                self._epochs.observe(epoch)
                self._claims.setdefault(node, {})[key] = epoch
        return list(nodes)

    def _drop_empty(self, name: str) -> None:
        peer = self._peers[name]
        if peer.replica is None and not peer.shards:
            del self._peers[name]

    def _age(self, peer: _Peer) -> float:
        """Seconds without a renewal of the peer, up to this replica's own last renewal."""
        return 0.0 if self._renewed_at is None else self._renewed_at - peer.seen

    def live(self, name: str) -> Replica | None:
        """The replica, unless its Lease has expired or was deleted."""
        peer = self._peers.get(name)
        if peer is None or peer.replica is None or self._age(peer) > peer.replica.duration:
            return None
        return peer.replica

    def replicas(self) -> list[Replica]:
        """The other live replicas, by name."""
        found = (self.live(name) for name in sorted(self._peers))
        return [replica for replica in found if replica is not None]

    def routes(self, node: str) -> list[Route]:
        """The live replicas that claim the node, the newest session first."""
        found = []
        for key, epoch in self._claims.get(node, {}).items():
            replica = self.live(self._owners[key])
            if replica is not None:
                found.append(Route(replica, epoch))
        if len(found) > 1:
            found.sort(key=lambda route: (-route.epoch, route.replica.name))
        return found

    def count(self, name: str) -> int:
        """The number of nodes that a replica claims."""
        peer = self._peers.get(name)
        return 0 if peer is None else sum(len(shard.nodes) for shard in peer.shards.values())

    def nodes(self) -> list[str]:
        """Every node that a replica has claimed."""
        return list(self._claims)

    def dead(self) -> list[tuple[str, list[str]]]:
        """Replicas that expired at least a lease duration ago, with the names of their ConfigMaps."""
        found = []
        for name, peer in self._peers.items():
            duration = self._duration if peer.replica is None else peer.replica.duration
            if self._age(peer) > 2 * duration:
                found.append((name, sorted(peer.shards)))
        return found
