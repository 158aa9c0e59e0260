"""A replica's records in Kubernetes: a Lease, and ConfigMaps of the nodes that it holds. Pure.

docs/protocol.md specifies both. A ConfigMap has one key for each node, so that a change is a small merge
patch and ``kubectl get configmap -o yaml`` lists the nodes. A replica with many nodes has several ConfigMaps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from superedge.config.addresses import TCPAddress, parse_address
from superedge.kube.errors import DecodeError
from superedge.kube.json import decode
from superedge.tunnel.epochs import MAX_EPOCH

LABEL = "tunnel.superedge.io/replica"
PEER = "tunnel.superedge.io/peer"
ADDRESSES = "tunnel.superedge.io/addresses"
DRAINING = "tunnel.superedge.io/draining"

PREFIX = "superedge-tunnel-"


@dataclass(frozen=True, slots=True)
class Replica:
    """A replica as its Lease describes it. ``instance`` changes with each process, ``renewed`` with each
    renewal."""

    name: str
    instance: str
    renewed: str
    duration: float
    """Seconds without a renewal after which it counts as dead."""
    peer: TCPAddress
    """The address at which other replicas dial it."""
    addresses: tuple[str, ...]
    """The addresses at which callers reach its listeners, IP literals."""
    draining: bool = False


@dataclass(frozen=True, slots=True)
class Shard:
    """One ConfigMap: epochs by node."""

    replica: str
    nodes: Mapping[str, int] = field(default_factory=dict)


class _Metadata(msgspec.Struct):
    name: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class _LeaseSpec(msgspec.Struct):
    holderIdentity: str = ""
    leaseDurationSeconds: int = 15
    renewTime: str = ""


class _Lease(msgspec.Struct):
    metadata: _Metadata
    spec: _LeaseSpec


class _ConfigMap(msgspec.Struct):
    metadata: _Metadata
    data: dict[str, str] | None = None


def lease_name(replica: str) -> str:
    """The name of a replica's Lease."""
    return PREFIX + replica


def shard_name(replica: str, number: int) -> str:
    """The name of a replica's ConfigMap; numbers begin at 0."""
    return f"{PREFIX}{replica}-{number}"


def shard_number(replica: str, name: str) -> int | None:
    """The number in a ConfigMap's name; None if it is not the replica's."""
    number = name.removeprefix(f"{PREFIX}{replica}-")
    return int(number) if number != name and number.isascii() and number.isdigit() else None


def lease(replica: Replica) -> dict[str, object]:
    """The Lease object, which also serves as a merge patch."""
    return {
        "metadata": {
            "name": lease_name(replica.name),
            "labels": {LABEL: replica.name},
            "annotations": {
                PEER: str(replica.peer),
                ADDRESSES: ",".join(replica.addresses),
                DRAINING: str(replica.draining).lower(),
            },
        },
        "spec": {
            "holderIdentity": replica.instance,
            "leaseDurationSeconds": int(replica.duration),
            "renewTime": replica.renewed,
        },
    }


def configmap(replica: str, number: int, data: Mapping[str, str]) -> dict[str, object]:
    """The whole object."""
    return {"metadata": {"name": shard_name(replica, number), "labels": {LABEL: replica}}, "data": data}


def node_value(epoch: int, since: float) -> str:
    """The value of a node's key: its session's epoch and, for human readers, the session's start."""
    return f"{epoch} {timestamp(since)[:19]}Z"


def timestamp(now: float) -> str:
    """Seconds since 1970 as a Kubernetes MicroTime."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def read_lease(raw: bytes) -> Replica:
    """A replica. Raises DecodeError."""
    found: _Lease = decode(_Lease, raw)
    notes, name = found.metadata.annotations, found.metadata.labels.get(LABEL, "")
    try:
        peer = parse_address(notes.get(PEER, ""))
    except ValueError as problem:
        raise DecodeError(f"{PEER}: {problem}") from problem
    if not name or not isinstance(peer, TCPAddress):
        raise DecodeError(f"a replica's Lease needs the label {LABEL} and host:port in {PEER}")
    return Replica(
        name,
        found.spec.holderIdentity,
        found.spec.renewTime,
        max(1, found.spec.leaseDurationSeconds),
        peer,
        tuple(address for address in notes.get(ADDRESSES, "").split(",") if address),
        notes.get(DRAINING) == "true",
    )


def read_shard(raw: bytes) -> Shard:
    """A replica's nodes; invalid epochs are ignored. Raises DecodeError."""
    found: _ConfigMap = decode(_ConfigMap, raw)
    nodes = {}
    for node, value in (found.data or {}).items():
        text = value.partition(" ")[0]
        if text.isascii() and text.isdigit() and 0 < (epoch := int(text)) <= MAX_EPOCH:
            nodes[node] = epoch
    return Shard(found.metadata.labels.get(LABEL, ""), nodes)
