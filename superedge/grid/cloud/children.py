"""What grids made, as the API server has it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from superedge.grid.cloud.kinds import API_VERSION, GridKey, Kind
from superedge.grid.names import GRID_SELECTOR, GRID_SITE, GRID_UNIQ_KEY, TEMPLATE_HASH
from superedge.kube.json import decode

MANAGER = "superedge-grid"
"""The field manager of everything that the controller applies."""
PREDECESSOR = "application-grid-controller"
"""The field manager of the Go SuperEdge's controller."""


class Owner(msgspec.Struct, frozen=True):
    """An owner reference."""

    kind: str
    name: str
    uid: str
    apiVersion: str = ""
    controller: bool = False


class _OwnedSpec(msgspec.Struct, frozen=True):
    replicas: dict[str, Any] | None = msgspec.field(default=None, name="f:replicas")


class _OwnedMetadata(msgspec.Struct, frozen=True):
    labels: dict[str, Any] = msgspec.field(default_factory=dict, name="f:labels")
    annotations: dict[str, Any] = msgspec.field(default_factory=dict, name="f:annotations")


class _Fields(msgspec.Struct, frozen=True):
    metadata: _OwnedMetadata = msgspec.field(default=_OwnedMetadata(), name="f:metadata")
    spec: _OwnedSpec = msgspec.field(default=_OwnedSpec(), name="f:spec")


class _Managed(msgspec.Struct, frozen=True):
    manager: str = ""
    operation: str = ""
    subresource: str = ""
    fieldsV1: _Fields = _Fields()


class _Metadata(msgspec.Struct, frozen=True):
    name: str
    namespace: str = ""
    uid: str = ""
    resourceVersion: str = ""
    generation: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    ownerReferences: list[Owner] = []
    managedFields: list[_Managed] = []
    deletionTimestamp: str | None = None


class _PodMetadata(msgspec.Struct, frozen=True):
    labels: dict[str, str] | None = None


class _PodSpec(msgspec.Struct, frozen=True):
    nodeSelector: dict[str, str] = {}


class _PodTemplate(msgspec.Struct, frozen=True):
    metadata: _PodMetadata = _PodMetadata()
    spec: _PodSpec = _PodSpec()


class _Spec(msgspec.Struct, frozen=True):
    # A Service's selector is a map of texts, a workload's has matchLabels: what it is, is kept as it is.
    selector: dict[str, Any] | None = None
    template: _PodTemplate = _PodTemplate()
    replicas: int = 1
    clusterIP: str = ""


class ChildCondition(msgspec.Struct, frozen=True):
    """A condition of a Deployment."""

    type: str
    status: str = "Unknown"
    reason: str = ""
    message: str = ""


class _Status(msgspec.Struct, frozen=True):
    observedGeneration: int = 0
    replicas: int = 0
    updatedReplicas: int = 0
    readyReplicas: int = 0
    availableReplicas: int = 0
    conditions: list[ChildCondition] = []


class _Child(msgspec.Struct, frozen=True):
    metadata: _Metadata
    spec: _Spec = _Spec()
    status: _Status = _Status()


class ChildKey(NamedTuple):
    """The key of a child; ``kind`` is that of its grid."""

    kind: str
    namespace: str
    name: str


class Fingerprint(NamedTuple):
    """What the controller looks at; a change of the child's status leaves it as it is."""

    uid: str
    generation: int
    labels: dict[str, str]
    annotations: dict[str, str]
    owners: tuple[Owner, ...]
    scaler: str
    owned: frozenset[str]
    deleting: bool


class Child:
    """A Deployment, StatefulSet or Service that has the label of a grid."""

    def __init__(self, kind: Kind, raw: bytes) -> None:
        """Raises DecodeError."""
        found: _Child = decode(_Child, raw)
        metadata, spec = found.metadata, found.spec
        self.key = ChildKey(kind.name, metadata.namespace, metadata.name)
        self.grid = GridKey(kind.name, metadata.namespace, metadata.labels.get(GRID_SELECTOR, ""))
        self.version = metadata.resourceVersion
        self.selector = spec.selector
        self.pod_labels = spec.template.metadata.labels or {}
        self.node_selector = spec.template.spec.nodeSelector
        self.replicas = spec.replicas
        self.cluster_ip = spec.clusterIP
        self.status = found.status
        self.raw = raw
        own, scaler, inherited = _ownership(metadata.managedFields)
        self.inherited = inherited
        """Whether fields are the Go SuperEdge controller's."""
        self.fingerprint = Fingerprint(
            metadata.uid,
            metadata.generation,
            metadata.labels,
            metadata.annotations,
            tuple(metadata.ownerReferences),
            scaler,
            own,
            metadata.deletionTimestamp is not None,
        )

    @property
    def uid(self) -> str:
        return self.fingerprint.uid

    @property
    def deleting(self) -> bool:
        """Whether it was deleted, and finalizers or its pods keep it."""
        return self.fingerprint.deleting

    @property
    def scaler(self) -> str:
        """The field manager that owns its replicas if it is another: of an autoscaler, or kubectl scale."""
        return self.fingerprint.scaler

    @property
    def template_hash(self) -> str:
        """The hash of the template that was applied; empty for a child of another controller."""
        return self.fingerprint.annotations.get(TEMPLATE_HASH, "")

    @property
    def controller(self) -> Owner | None:
        """The owner that controls it."""
        return next((owner for owner in self.fingerprint.owners if owner.controller), None)

    @property
    def site(self) -> str:
        """Its site; that of another controller's is the one whose nodes it selects."""
        labels, notes = self.fingerprint.labels, self.fingerprint.annotations
        key = notes.get(GRID_UNIQ_KEY) or labels.get(GRID_UNIQ_KEY, "")
        return labels.get(GRID_SITE) or self.node_selector.get(key, "")

    @property
    def distinct(self) -> bool:
        """Whether its selector names the site, so that it matches no other site's pods."""
        return GRID_SITE in ((self.selector or {}).get("matchLabels") or {})

    @property
    def ready(self) -> bool:
        """Whether as many pods as are wanted are ready, of whichever template."""
        status = self.status
        ready = status.availableReplicas if self.key.kind == "DeploymentGrid" else status.readyReplicas
        return status.observedGeneration > 0 and ready >= self.replicas

    @property
    def rolled_out(self) -> bool:
        """Whether all its pods are of the newest template, and ready."""
        status, wanted = self.status, self.replicas
        seen = status.observedGeneration >= self.fingerprint.generation
        return seen and self.ready and status.updatedReplicas >= wanted and status.replicas <= wanted

    @property
    def failure(self) -> str:
        """Why its Deployment does not get on, in its own words; empty when it does."""
        if self.status.observedGeneration < self.fingerprint.generation:
            return ""
        for each in self.status.conditions:
            if (each.type, each.reason) == ("Progressing", "ProgressDeadlineExceeded"):
                return each.message
        for each in self.status.conditions:
            if (each.type, each.status) == ("ReplicaFailure", "True"):
                return each.message
        return ""

    def whole(self) -> dict[str, Any]:
        """The object."""
        found: dict[str, Any] = msgspec.json.decode(self.raw)
        return found


def _ownership(managed: list[_Managed]) -> tuple[frozenset[str], str, bool]:
    """The controller's own labels and annotations, who else has replicas, and whether any is inherited."""
    own: set[str] = set()
    scaler, inherited = "", False
    for entry in managed:
        fields = entry.fieldsV1
        if entry.manager == MANAGER and entry.operation == "Apply" and not entry.subresource:
            own.update(fields.metadata.labels, fields.metadata.annotations)
        elif entry.manager == PREDECESSOR and not entry.subresource:
            inherited = True
        elif fields.spec.replicas is not None:
            scaler = entry.manager
    return frozenset(name.removeprefix("f:") for name in own if name != "."), scaler, inherited


def reader(kind: Kind) -> Callable[[bytes], Child]:
    """Reads a child of a kind of grid; it raises DecodeError."""
    return lambda raw: Child(kind, raw)


def is_of(owner: Owner, grid: GridKey, uid: str) -> bool:
    """Whether an owner reference names a grid."""
    return owner.uid == uid and (owner.apiVersion, owner.kind, owner.name) == (
        API_VERSION,
        grid.kind,
        grid.name,
    )
