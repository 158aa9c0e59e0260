"""The resources that the embedded API server serves: built-in ones, and those of CRDs.

``Registry.register`` is called when a CustomResourceDefinition is stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Subresource:
    """A subresource; ``kind`` is that of its request and response bodies."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""


class Column(NamedTuple):
    """A printer column of a custom resource; one of another ``priority`` than 0 is for wide output."""

    name: str
    type: str
    path: str
    """JSONPath."""
    format: str
    description: str
    priority: int


@dataclass(frozen=True, slots=True)
class Resource:
    """One served resource in one version.

    ``status``: it has a status subresource. ``generation``: metadata.generation counts changes of spec.
    ``returned``: DELETE returns the object instead of a Status. ``virtual``: POST returns a result and stores
    nothing (reviews).
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[Subresource, ...] = ()
    status: bool = False
    generation: bool = False
    returned: bool = False
    virtual: bool = False
    custom: bool = False
    singular: str = ""
    columns: tuple[Column, ...] = ()
    """The printer columns of a custom resource."""
    schema: dict[str, Any] | None = field(default=None, hash=False)
    """Of a custom resource; None for a built-in one."""

    @property
    def api_version(self) -> str:
        """``v1`` or ``apps/v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def list_kind(self) -> str:
        return f"{self.kind}List"

    @property
    def singular_name(self) -> str:
        """The singular name in lower case."""
        return self.singular or self.kind.lower()

    @property
    def verbs(self) -> tuple[str, ...]:
        """The supported verbs."""
        return ("create",) if self.virtual else VERBS

    def all_subresources(self) -> tuple[Subresource, ...]:
        """The subresources including status."""
        if not self.status:
            return self.subresources
        return (*self.subresources, Subresource("status", self.kind, ("get", "patch", "update")))


_LOG = Subresource("log", "Pod", ("get",))
_STREAMS = tuple(
    Subresource(name, f"Pod{kind}Options", ("create", "get"))
    for name, kind in (("attach", "Attach"), ("exec", "Exec"), ("portforward", "PortForward"))
)
_TOKEN = Subresource("token", "TokenRequest", ("create",), "authentication.k8s.io", "v1")
_NODE_PROXY = Subresource("proxy", "NodeProxyOptions", ("create", "delete", "get", "patch", "update"))
_BINDING = Subresource("binding", "Binding", ("create",))
_ALL = ("all",)


def builtin() -> Iterator[Resource]:
    """All built-in resources."""
    core = [
        Resource("", "v1", "configmaps", "ConfigMap", short=("cm",)),
        Resource("", "v1", "endpoints", "Endpoints", short=("ep",)),
        Resource("", "v1", "events", "Event", short=("ev",)),
        Resource("", "v1", "limitranges", "LimitRange", short=("limits",)),
        Resource("", "v1", "namespaces", "Namespace", namespaced=False, short=("ns",), status=True),
        Resource(
            "",
            "v1",
            "nodes",
            "Node",
            namespaced=False,
            short=("no",),
            status=True,
            subresources=(_NODE_PROXY,),
        ),
        Resource(
            "",
            "v1",
            "persistentvolumeclaims",
            "PersistentVolumeClaim",
            short=("pvc",),
            status=True,
            returned=True,
        ),
        Resource(
            "",
            "v1",
            "persistentvolumes",
            "PersistentVolume",
            namespaced=False,
            short=("pv",),
            status=True,
            returned=True,
        ),
        Resource(
            "",
            "v1",
            "pods",
            "Pod",
            short=("po",),
            categories=_ALL,
            status=True,
            generation=True,
            returned=True,
            subresources=(_LOG, *_STREAMS, _BINDING),
        ),
        Resource("", "v1", "secrets", "Secret"),
        Resource(
            "",
            "v1",
            "serviceaccounts",
            "ServiceAccount",
            short=("sa",),
            returned=True,
            subresources=(_TOKEN,),
        ),
        Resource(
            "", "v1", "services", "Service", short=("svc",), categories=_ALL, status=True, returned=True
        ),
    ]
    yield from core
    workloads = (
        ("daemonsets", "DaemonSet", "ds"),
        ("deployments", "Deployment", "deploy"),
        ("replicasets", "ReplicaSet", "rs"),
        ("statefulsets", "StatefulSet", "sts"),
    )
    for plural, kind, short in workloads:
        yield Resource(
            "apps", "v1", plural, kind, short=(short,), categories=_ALL, status=True, generation=True
        )
    yield Resource("apps", "v1", "controllerrevisions", "ControllerRevision")
    yield Resource("batch", "v1", "jobs", "Job", categories=_ALL, status=True, generation=True)
    yield Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", generation=True)
    yield Resource("coordination.k8s.io", "v1", "leases", "Lease")
    yield Resource("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", namespaced=False)
    yield Resource("storage.k8s.io", "v1", "csidrivers", "CSIDriver", namespaced=False)
    yield Resource("storage.k8s.io", "v1", "csinodes", "CSINode", namespaced=False)
    yield Resource(
        "networking.k8s.io", "v1", "ingresses", "Ingress", short=("ing",), status=True, generation=True
    )
    yield Resource(
        "networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", short=("netpol",), generation=True
    )
    for plural, kind, namespaced in (
        ("clusterroles", "ClusterRole", False),
        ("clusterrolebindings", "ClusterRoleBinding", False),
        ("roles", "Role", True),
        ("rolebindings", "RoleBinding", True),
    ):
        yield Resource("rbac.authorization.k8s.io", "v1", plural, kind, namespaced=namespaced)
    for plural, kind in (
        ("mutatingwebhookconfigurations", "MutatingWebhookConfiguration"),
        ("validatingwebhookconfigurations", "ValidatingWebhookConfiguration"),
    ):
        yield Resource("admissionregistration.k8s.io", "v1", plural, kind, namespaced=False, generation=True)
    yield Resource(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        namespaced=False,
        short=("crd", "crds"),
        categories=("api-extensions",),
        status=True,
        generation=True,
    )
    for kind in ("SelfSubjectAccessReview", "SubjectAccessReview"):
        yield Resource("authorization.k8s.io", "v1", f"{kind.lower()}s", kind, namespaced=False, virtual=True)
    for kind in ("SelfSubjectReview", "TokenReview"):
        yield Resource(
            "authentication.k8s.io", "v1", f"{kind.lower()}s", kind, namespaced=False, virtual=True
        )


def custom(definition: dict[str, Any]) -> list[Resource]:
    """The served versions of a CustomResourceDefinition object, storage version first."""
    spec = definition["spec"]
    names = spec["names"]
    found = []
    for version in sorted(spec["versions"], key=lambda item: not item.get("storage")):
        if not version.get("served", True):
            continue
        columns = tuple(map(_printer_column, version.get("additionalPrinterColumns", ())))
        found.append(
            Resource(
                spec["group"],
                version["name"],
                names["plural"],
                names["kind"],
                namespaced=spec["scope"] == "Namespaced",
                short=tuple(names.get("shortNames", ())),
                categories=tuple(names.get("categories", ())),
                status="status" in version.get("subresources", {}),
                generation=True,
                custom=True,
                singular=names.get("singular") or names["kind"].lower(),
                columns=columns,
                schema=version.get("schema", {}).get("openAPIV3Schema") or {},
            )
        )
    return found


def _printer_column(column: dict[str, Any]) -> Column:
    path = column["jsonPath"]
    description = f"Custom resource definition column (in JSONPath format): {path}"
    return Column(
        column["name"],
        column["type"],
        path,
        column.get("format", ""),
        column.get("description", description),
        column.get("priority", 0),
    )


class Registry:
    """All served resources by group, version and plural name. ``generation`` counts changes."""

    def __init__(self, resources: Iterable[Resource] | None = None) -> None:
        self._versions: dict[tuple[str, str], dict[str, Resource]] = {}
        self.generation = 0
        for resource in builtin() if resources is None else resources:
            self._add(resource)

    def _add(self, resource: Resource) -> None:
        self._versions.setdefault((resource.group, resource.version), {})[resource.plural] = resource

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        """The resource at that path, if it is served."""
        return self._versions.get((group, version), {}).get(plural)

    def in_version(self, group: str, version: str) -> list[Resource] | None:
        """All resources of a group version; None when there is no such version."""
        found = self._versions.get((group, version))
        return None if found is None else sorted(found.values(), key=lambda resource: resource.plural)

    def groups(self) -> dict[str, list[str]]:
        """Versions by group, the core group (``""``) first."""
        found: dict[str, list[str]] = {}
        for group, version in self._versions:
            found.setdefault(group, []).append(version)
        return found

    def all(self) -> Iterator[Resource]:
        """Every resource in every version."""
        for resources in self._versions.values():
            yield from resources.values()

    def register(self, definition: dict[str, Any]) -> None:
        """Serve the versions in a CustomResourceDefinition, replacing those of an earlier state."""
        self.unregister(definition)
        for resource in custom(definition):
            self._add(resource)

    def unregister(self, definition: dict[str, Any]) -> None:
        """Stop serving the custom resource."""
        group, plural = definition["spec"]["group"], definition["spec"]["names"]["plural"]
        for key in [key for key in self._versions if key[0] == group]:
            self._versions[key].pop(plural, None)
            if not self._versions[key]:
                del self._versions[key]
        self.generation += 1
