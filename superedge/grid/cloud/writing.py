"""Writes of the controller: what it makes, changes, takes over and removes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from superedge.grid.cloud import metrics
from superedge.grid.cloud.children import MANAGER, PREDECESSOR, Child
from superedge.grid.cloud.grids import Grid
from superedge.grid.cloud.kinds import SERVICE_GRID
from superedge.grid.names import TEMPLATE_HASH
from superedge.kube.apply import APPLY_PATCH, apply
from superedge.kube.client import MERGE_PATCH, NODES, IKubeClient, Problems
from superedge.kube.errors import APIError
from superedge.kube.json import decode

_NOT_FOUND, _CONFLICT = 404, 409
_FIELD_CONFLICT = "Apply failed"
_ROLLING = "RollingUpdate"

Entries = list[dict[str, Any]]
"""An object's managedFields."""


class NameTaken(Exception):
    """An object of that name is there, ``child``, and the grid is not known to have made it."""

    def __init__(self, child: Child) -> None:
        self.child = child
        super().__init__(child.key.name)


class _Nodes(msgspec.Struct):
    items: list[Any] = []


class Writer:
    """Every write is counted, and answers with the object as it is now."""

    def __init__(self, client: IKubeClient) -> None:
        self._client = client

    async def make(self, grid: Grid, wanted: dict[str, Any]) -> Child:
        """A new child. Raises NameTaken, APIError, Unavailable.

        Without force nothing that somebody else made is changed: its selector is another one, which is a
        conflict. Only Services may be alike, and are looked at before.
        """
        path = self._path(grid, wanted)
        if grid.kind is SERVICE_GRID and (there := await self._there(grid, path)) is not None:
            raise NameTaken(there)
        try:
            return await self._apply(grid, path, wanted)
        except APIError as problem:
            if _clashes(problem) and (there := await self._there(grid, path)) is not None:
                raise NameTaken(there) from problem
            raise

    async def change(self, grid: Grid, child: Child, wanted: dict[str, Any]) -> Child:
        """Put a child right. Raises APIError, Unavailable.

        Fields that somebody else set are taken over, but not replicas, and these may have been set since
        ``child`` was read: a new template is first applied without force, and after a conflict, as for drift,
        the child is read anew.
        """
        path = self._path(grid, wanted)
        if (field := _strategy_left(child, wanted)) is not None:
            await self._reassign(grid, child, lambda entries: _with_rolling_update(entries, field))
        if "replicas" in wanted["spec"]:
            if child.template_hash != wanted["metadata"]["annotations"][TEMPLATE_HASH]:
                try:
                    return await self._apply(grid, path, wanted)
                except APIError as problem:
                    if not _clashes(problem):
                        raise
            wanted = await self._as_scaled(grid, path, wanted)
        return await self._apply(grid, path, wanted, force="true")

    async def _as_scaled(self, grid: Grid, path: str, wanted: dict[str, Any]) -> dict[str, Any]:
        """What is to be applied to the child as it is now, without replicas if somebody else has set them."""
        there = await self._there(grid, path)
        if there is None:
            return wanted
        metadata, spec = {**wanted["metadata"], "resourceVersion": there.version}, dict(wanted["spec"])
        if there.scaler:
            del spec["replicas"]
        return {**wanted, "metadata": metadata, "spec": spec}

    async def inherit(self, grid: Grid, child: Child) -> Child:
        """Make the Go SuperEdge controller's fields the controller's own, so that they go when they are to.

        Raises APIError, Unavailable. Source: client-go util/csaupgrade.
        """
        return await self._reassign(grid, child, _inherited)

    async def _reassign(self, grid: Grid, child: Child, change: Callable[[Entries], Entries]) -> Child:
        """Change who owns a child's fields."""
        path = grid.kind.child_resource.path(child.key.namespace, child.key.name)
        metadata = decode(dict, await self._client.call("GET", path))["metadata"]
        entries = change(metadata["managedFields"])
        patch = {"metadata": {"managedFields": entries, "resourceVersion": metadata["resourceVersion"]}}
        return Child(grid.kind, await self._counted(grid, "PATCH", path, {}, patch, MERGE_PATCH))

    async def remove(self, grid: Grid, child: Child) -> None:
        """Delete a child, if it is still the same. Raises APIError, Unavailable."""
        path = grid.kind.child_resource.path(child.key.namespace, child.key.name)
        options = {"preconditions": {"uid": child.uid}, "propagationPolicy": "Background"}
        try:
            await self._counted(grid, "DELETE", path, {}, options)
        except APIError as problem:
            if problem.code != _NOT_FOUND:
                raise

    async def tell(self, grid: Grid, status: Any) -> Grid | None:
        """Write a grid's status; None when the grid is gone. Raises APIError, Unavailable."""
        key = grid.key
        wanted = {
            "apiVersion": f"{grid.kind.resource.group}/{grid.kind.resource.version}",
            "kind": key.kind,
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": grid.uid},
            "status": status,
        }
        path = f"{grid.kind.resource.path(key.namespace, key.name)}/status"
        try:
            answer = await apply(self._client, path, wanted, MANAGER)
        except APIError as problem:
            if problem.code == _NOT_FOUND:
                return None
            metrics.WRITES.labels("status", "failed").inc()
            raise
        metrics.WRITES.labels("status", "done").inc()
        return Grid(grid.kind, answer)

    async def drop_templates(self, grid: Grid, names: list[str]) -> None:
        """Take templates out of a grid's pool. Raises APIError, Unavailable."""
        key = grid.key
        pool = dict.fromkeys(names)
        patch = {"metadata": {"resourceVersion": grid.version}, "spec": {"templatePool": pool}}
        path = grid.kind.resource.path(key.namespace, key.name)
        await self._client.call("PATCH", path, {"fieldManager": MANAGER}, patch, MERGE_PATCH)

    async def has_nodes(self, key: str, site: str) -> bool:
        """Whether the API server itself has a node of the site. Raises APIError, Unavailable, DecodeError."""
        query = {"labelSelector": f"{key}={site}", "limit": "1"}
        return bool(decode(_Nodes, await self._client.call("GET", NODES.path(), query)).items)

    async def _apply(self, grid: Grid, path: str, wanted: dict[str, Any], **force: str) -> Child:
        query = {"fieldManager": MANAGER, **force}
        return Child(grid.kind, await self._counted(grid, "PATCH", path, query, wanted, APPLY_PATCH))

    async def _there(self, grid: Grid, path: str) -> Child | None:
        try:
            return Child(grid.kind, await self._client.call("GET", path))
        except APIError as problem:
            if problem.code != _NOT_FOUND:
                raise
            return None

    def _path(self, grid: Grid, wanted: dict[str, Any]) -> str:
        return grid.kind.child_resource.path(grid.key.namespace, wanted["metadata"]["name"])

    async def _counted(
        self,
        grid: Grid,
        method: str,
        path: str,
        query: dict[str, str],
        body: Any,
        content_type: str = "application/json",
    ) -> bytes:
        try:
            answer = await self._client.call(method, path, query, body, content_type)
        except Problems:
            metrics.WRITES.labels(grid.kind.child, "failed").inc()
            raise
        metrics.WRITES.labels(grid.kind.child, "done").inc()
        return answer


def _clashes(problem: APIError) -> bool:
    """Whether an apply without force was refused for a field that somebody else has set."""
    return problem.code == _CONFLICT and _FIELD_CONFLICT in str(problem)


def _strategy_left(child: Child, wanted: dict[str, Any]) -> str | None:
    """The field with a child's strategy, if that leaves RollingUpdate.

    The parameters that the API server filled in are nobody's, so that an apply keeps them; and it refuses
    them beside another type.
    """
    there = child.whole()["spec"]
    for field in ("strategy", "updateStrategy"):
        type_ = (wanted["spec"].get(field) or {}).get("type", _ROLLING)
        if type_ != _ROLLING and (there.get(field) or {}).get("rollingUpdate"):
            return field
    return None


def _with_rolling_update(entries: Entries, field: str) -> Entries:
    """The managed fields with the parameters as the controller's: its next apply drops them."""
    return [_owning(entry, field) if _is_own(entry) else entry for entry in entries]


def _owning(entry: dict[str, Any], field: str) -> dict[str, Any]:
    fields = entry["fieldsV1"]
    spec = fields.get("f:spec", {})
    strategy = {**spec.get(f"f:{field}", {}), "f:rollingUpdate": {}}
    return {**entry, "fieldsV1": {**fields, "f:spec": {**spec, f"f:{field}": strategy}}}


def _is_own(entry: dict[str, Any]) -> bool:
    return (
        entry.get("manager") == MANAGER and entry.get("operation") == "Apply" and not entry.get("subresource")
    )


def _inherited(entries: Entries) -> Entries:
    """The managed fields with the predecessor's as the controller's, or without them if it has its own."""
    kept: Entries = []
    old: Entries = []
    for entry in entries:
        inherited = entry.get("manager") == PREDECESSOR and not entry.get("subresource")
        (old if inherited else kept).append(entry)
    if any(map(_is_own, kept)):
        return kept
    return kept + [{**entry, "manager": MANAGER, "operation": "Apply"} for entry in old]
