"""The three kinds of grids, and what each makes. Pure."""

from __future__ import annotations

from typing import NamedTuple

from superedge.grid.names import GROUP, VERSION
from superedge.kube.client import Resource


class Kind(NamedTuple):
    """A kind of grid. ``child`` is the kind of what it makes, and ``limit`` the length of a child's name."""

    name: str
    plural: str
    short: str
    child: str
    child_resource: Resource
    limit: int
    dots: bool
    """Whether a child's name may have dots."""

    @property
    def resource(self) -> Resource:
        return Resource(GROUP, VERSION, self.plural)

    @property
    def child_version(self) -> str:
        """The child's apiVersion."""
        group, version, _ = self.child_resource
        return f"{group}/{version}" if group else version


# A ReplicaSet's name is its Deployment's and 11 characters.
DEPLOYMENT_GRID = Kind(
    "DeploymentGrid", "deploymentgrids", "dg", "Deployment", Resource("apps", "v1", "deployments"), 242, True
)
# The label controller-revision-hash of its pods is the name and 11 characters, of 63.
STATEFULSET_GRID = Kind(
    "StatefulSetGrid", "statefulsetgrids", "ssg", "StatefulSet",
    Resource("apps", "v1", "statefulsets"), 52, False,
)  # fmt: skip
SERVICE_GRID = Kind("ServiceGrid", "servicegrids", "sg", "Service", Resource("", "v1", "services"), 63, False)

KINDS = (DEPLOYMENT_GRID, STATEFULSET_GRID, SERVICE_GRID)
API_VERSION = f"{GROUP}/{VERSION}"


class GridKey(NamedTuple):
    """The key of a grid; ``kind`` is its name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}"
