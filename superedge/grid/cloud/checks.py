"""What stands in the way of a site's workload, and what to do about it. Pure."""

from __future__ import annotations

from typing import Any

from superedge.grid.cloud.children import Child, ChildKey
from superedge.grid.cloud.desired import selector
from superedge.grid.cloud.grids import Grid, Template
from superedge.grid.cloud.kinds import API_VERSION
from superedge.grid.cloud.status import Problem
from superedge.grid.names import GRID_SELECTOR


def missing_template(name: str) -> Problem:
    """A site's template is not in the pool."""
    return Problem("TemplateMissing", f"its template {name} is not in spec.templatePool")


def name_taken(grid: Grid, name: str) -> Problem:
    """The name belongs to an object that no grid made."""
    child, namespace = grid.kind.child, grid.key.namespace
    return Problem(
        "NameTaken",
        f"{child} {name} is there and not this grid's. Rename or delete it, or hand it over: kubectl -n"
        f" {namespace} label {child.lower()} {name} {GRID_SELECTOR}={grid.key.name}",
    )


def refused(problem: Exception) -> Problem:
    """The API server does not take it."""
    return Problem("Refused", f"the API server says: {problem}")


def belongs_elsewhere(grid: Grid, child: Child) -> Problem | None:
    """Whether a child with the name of a site's workload is another's."""
    owner, what = child.controller, f"{grid.kind.child} {child.key.name}"
    if owner is not None and owner.uid != grid.uid:
        if (owner.apiVersion, owner.kind, owner.name) == (API_VERSION, grid.key.kind, grid.key.name):
            return Problem("Waiting", f"waits until {what} of the deleted {grid.key.kind} is gone")
        return Problem("NameTaken", f"{what} belongs to {owner.kind} {owner.name}: rename one of them")
    return None


def unmatched_selector(grid: Grid, child: Child, wanted: dict[str, Any]) -> Problem | None:
    """Whether the pods that are wanted would not match the child's selector, which cannot be changed."""
    labels = ((wanted["spec"].get("template") or {}).get("metadata") or {}).get("labels") or {}
    asked = (child.selector or {}).get("matchLabels") or {}
    if all(labels.get(key) == value for key, value in asked.items()):
        return None
    return Problem(
        "SelectorImmutable",
        "its selector cannot be changed, and the template's pods do not match it. Delete it, and it is made"
        f" again: {_delete(grid, child.key)}",
    )


def notice(grid: Grid, site: str, template: Template, child: Child) -> str:
    """A remark about a child that is well but has not the selector or the replicas of a new one."""
    if not child.distinct:
        return (
            f"the selector of {child.key.name}, which another controller made, does not name the site: an"
            " autoscaler or a disruption budget counts other sites' pods, too. When its pods may be replaced,"
            f" delete it, and it is made again: {_delete(grid, child.key)}"
        )
    if child.selector != selector(template, site):
        return (
            f"the selector of {child.key.name} cannot be changed to that of the template. When its pods may"
            f" be replaced, delete it, and it is made again: {_delete(grid, child.key)}"
        )
    replicas = template.spec.get("replicas", child.replicas)
    if child.scaler and replicas != child.replicas:
        return f"{child.scaler} has set its replicas to {child.replicas}: those of the template do not count"
    return ""


def _delete(grid: Grid, key: ChildKey) -> str:
    return f"kubectl -n {key.namespace} delete {grid.kind.child.lower()} {key.name}"
