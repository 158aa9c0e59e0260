"""Decodes what the judge reads: Nodes, their Leases, and which units are checked. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from superedge.health.votes.decisions import Ready
from superedge.kube.errors import DecodeError
from superedge.kube.json import decode
from superedge.kube.times import read_time
from superedge.net.names import is_address

CONDITION = "EdgePeerHealthy"
"""Type of the Node condition that holds the verdict."""
UNHEALTHY = "nodeunhealth"
"""The annotation of SuperEdge's Go programs; ``yes`` when a node is dead."""
KEEP_UNKNOWN = "superedge.io/keep-unknown"
DEAD = "superedge.io/dead"
UNREACHABLE = "node.kubernetes.io/unreachable"
NO_EXECUTE = "NoExecute"

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Taint(msgspec.Struct, frozen=True, omit_defaults=True):
    """A taint in a Node's spec with all fields of the API, because the list is written back as a whole."""

    key: str
    effect: str
    value: str = ""
    timeAdded: str | None = None


class _Condition(msgspec.Struct, frozen=True):
    type: str
    status: str = "Unknown"
    reason: str = ""
    message: str = ""
    lastTransitionTime: str | None = None


class _Address(msgspec.Struct, frozen=True):
    type: str
    address: str


class _Endpoint(msgspec.Struct, frozen=True):
    Port: int = 0


class _Endpoints(msgspec.Struct, frozen=True):
    kubeletEndpoint: _Endpoint = _Endpoint()


class _Status(msgspec.Struct, frozen=True):
    conditions: list[_Condition] = []
    addresses: list[_Address] = []
    daemonEndpoints: _Endpoints = _Endpoints()


class _Spec(msgspec.Struct, frozen=True):
    taints: list[Taint] = []


class _Metadata(msgspec.Struct, frozen=True):
    name: str
    uid: str = ""
    resourceVersion: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class _Node(msgspec.Struct, frozen=True):
    metadata: _Metadata
    spec: _Spec = _Spec()
    status: _Status = _Status()


class Published(NamedTuple):
    """The condition in the Node object: ``status`` is True, False or Unknown."""

    status: str
    message: str
    since: str


class NodeFacts(NamedTuple):
    """What is used of a Node. ``ready_since`` is in seconds since 1970, 0 when it is not given.

    ``host`` is an IP address, or empty; ``kubelet`` is a port, or 0: the API takes any text and number, and a
    node writes its own. ``keep_unknown`` is the annotation: seconds, None without it.
    """

    name: str
    uid: str
    version: str
    labels: dict[str, str]
    host: str
    kubelet: int
    ready: Ready
    ready_since: float
    keep_unknown: float | None
    taints: tuple[Taint, ...]
    marked: bool
    published: Published | None

    def has_taint(self, key: str) -> bool:
        """Whether it has the taint, of the effect NoExecute."""
        return any(taint.key == key and taint.effect == NO_EXECUTE for taint in self.taints)


def read_node(raw: bytes) -> NodeFacts:
    """A Node object. Raises DecodeError."""
    found: _Node = decode(_Node, raw)
    conditions = {each.type: each for each in found.status.conditions}
    ready = conditions.get("Ready", _Condition("Ready"))
    own = conditions.get(CONDITION)
    addresses = (each.address for each in found.status.addresses if each.type == "InternalIP")
    port = found.status.daemonEndpoints.kubeletEndpoint.Port
    status: Any = ready.status if ready.status in ("True", "False") else "Unknown"
    notes = found.metadata.annotations
    return NodeFacts(
        name=found.metadata.name,
        uid=found.metadata.uid,
        version=found.metadata.resourceVersion,
        labels=found.metadata.labels,
        host=next(filter(is_address, addresses), ""),
        kubelet=port if 0 < port < 65536 else 0,
        ready=status,
        ready_since=read_time(ready.lastTransitionTime or "") or 0.0,
        keep_unknown=read_duration(notes.get(KEEP_UNKNOWN, "")),
        taints=tuple(found.spec.taints),
        marked=notes.get(UNHEALTHY) == "yes",
        published=None if own is None else Published(own.status, own.message, own.lastTransitionTime or ""),
    )


def read_duration(text: str) -> float | None:
    """``24h``, ``90m``, ``30s``, ``2d``, or several in a row, as seconds; None for anything else."""
    seconds, number = 0.0, ""
    for letter in text.strip():
        if letter.isascii() and (letter.isdigit() or letter == "."):
            number += letter
        elif letter in _SECONDS and number.count(".") <= 1 and number.strip("."):
            seconds += float(number) * _SECONDS[letter]
            number = ""
        else:
            return None
    return seconds if text.strip() and not number else None


class _LeaseSpec(msgspec.Struct, frozen=True):
    renewTime: str | None = None
    leaseDurationSeconds: int | None = None


class _Lease(msgspec.Struct, frozen=True):
    spec: _LeaseSpec = _LeaseSpec()


class NodeLease(NamedTuple):
    """``renewed`` is the renewTime by the node's clock, to detect changes; ``duration`` is in seconds."""

    renewed: str
    duration: int


def read_lease(raw: bytes) -> NodeLease:
    """A Lease of a node. Raises DecodeError."""
    spec = decode(_Lease, raw).spec
    return NodeLease(spec.renewTime or "", spec.leaseDurationSeconds or 40)


class Scope(NamedTuple):
    """Which nodes check each other: those with the same value of ``label`` in ``units`` (None: any value).

    With an empty label all nodes are one unit, whose name is empty.
    """

    label: str
    units: frozenset[str] | None

    def unit_of(self, node: NodeFacts) -> str | None:
        """A node's unit, None when it is not checked."""
        if not self.label:
            return ""
        unit = node.labels.get(self.label)
        if unit is None or (self.units is not None and unit not in self.units):
            return None
        return unit


class _ConfigMap(msgspec.Struct, frozen=True):
    data: dict[str, str] = {}


def read_scope(raw: bytes, default: Scope) -> Scope:
    """The ConfigMap's keys ``unit_label`` and ``units`` (separated by blanks or commas, * for any).

    Raises DecodeError.
    """
    data = decode(_ConfigMap, raw).data
    label = data.get("unit_label", default.label).strip()
    if "units" not in data:
        return Scope(label, default.units)
    names = data["units"].replace(",", " ").split()
    if any("*" in name and name != "*" for name in names):
        raise DecodeError("units: only * alone stands for any")
    return Scope(label, None if "*" in names else frozenset(names))
