"""Grids as the API server has them, with their templates. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from superedge.grid.cloud.kinds import SERVICE_GRID, GridKey, Kind
from superedge.grid.cloud.naming import digest
from superedge.grid.cloud.types import (
    DEFAULT_TEMPLATE,
    ServiceGridSpec,
    ServiceGridStatus,
    WorkloadGridSpec,
    WorkloadGridStatus,
)
from superedge.kube.errors import DecodeError
from superedge.kube.json import decode

MAX_NESTING = 100
"""Levels of lists and objects in templates; those of pods have a dozen."""
Status = WorkloadGridStatus | ServiceGridStatus


class Template(NamedTuple):
    """``hash`` is that of the spec without replicas, which are no reason to call it another template."""

    name: str
    spec: dict[str, Any]
    hash: str


class _Metadata(msgspec.Struct):
    name: str
    namespace: str
    uid: str = ""
    resourceVersion: str = ""
    generation: int = 0
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    deletionTimestamp: str | None = None


class _WorkloadGrid(msgspec.Struct):
    metadata: _Metadata
    spec: WorkloadGridSpec
    status: WorkloadGridStatus = WorkloadGridStatus()


class _ServiceGrid(msgspec.Struct):
    metadata: _Metadata
    spec: ServiceGridSpec
    status: ServiceGridStatus = ServiceGridStatus()


class Grid:
    """A grid of any kind; what it says is not changed."""

    def __init__(self, kind: Kind, raw: bytes) -> None:
        """Raises DecodeError."""
        found: Any = decode(_ServiceGrid if kind is SERVICE_GRID else _WorkloadGrid, raw)
        metadata: _Metadata = found.metadata
        self.kind = kind
        self.key = GridKey(kind.name, metadata.namespace, metadata.name)
        self.uid = metadata.uid
        self.version = metadata.resourceVersion
        self.generation = metadata.generation
        self.labels = metadata.labels or {}
        self.annotations = metadata.annotations or {}
        self.deleting = metadata.deletionTimestamp is not None
        self.spec: Any = found.spec
        self.status: Any = found.status
        self._templates: dict[str, Template] = {}
        if nests_deeper([self.spec.template, getattr(self.spec, "templatePool", None)], MAX_NESTING):
            raise DecodeError(f"its templates nest deeper than {MAX_NESTING} levels")

    @property
    def site_key(self) -> str:
        """The label whose values are the sites."""
        key: str = self.spec.gridUniqKey
        return key

    def template_name(self, site: str) -> str:
        """The name of a site's template."""
        spec: WorkloadGridSpec = self.spec
        return spec.templates.get(site) or self.default_name

    @property
    def default_name(self) -> str:
        """The name of the template of sites that are not given one."""
        spec: WorkloadGridSpec = self.spec
        return spec.defaultTemplateName or DEFAULT_TEMPLATE

    def template(self, name: str) -> Template | None:
        """A template by its name; None when it is not there."""
        found = self._templates.get(name)
        if found is not None:
            return found
        if name == DEFAULT_TEMPLATE:
            content = self.spec.template
        else:
            content = self.spec.templatePool.get(name)
            if content is None:
                return None
            content = {"selector": self.spec.template.get("selector"), **content}
        content = without_nulls(content)
        hashed = {key: value for key, value in content.items() if key != "replicas"}
        raw = msgspec.json.encode(hashed, order="sorted")
        found = self._templates[name] = Template(name, content, digest(raw))
        return found

    def unused_templates(self) -> list[str]:
        """Names in the pool that no site can have."""
        spec: WorkloadGridSpec = self.spec
        return sorted(set(spec.templatePool) - {self.default_name, *spec.templates.values()})

    def says_the_same(self, other: Grid) -> bool:
        """Whether all that its children depend on is as in the other."""
        return (
            self.uid == other.uid
            and self.generation == other.generation
            and self.labels == other.labels
            and self.annotations == other.annotations
            and self.deleting == other.deleting
        )


def reader(kind: Kind) -> Callable[[bytes], Grid]:
    """Reads a grid of a kind; it raises DecodeError."""
    return lambda raw: Grid(kind, raw)


def nests_deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested in more levels."""
    level = [value]
    for _ in range(levels):
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                below += each.values()
            elif isinstance(each, list):
                below += each
        if not below:
            return False
        level = below
    return any(isinstance(each, dict | list) for each in level)


def without_nulls(value: Any) -> Any:
    """A copy without fields that are null: clients write them, and the API server takes them for absent."""
    if isinstance(value, dict):
        return {key: without_nulls(each) for key, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value
