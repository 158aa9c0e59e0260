"""A grid's status, from what there is of its children. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from superedge.grid.cloud.children import Child
from superedge.grid.cloud.desired import service_name, workload_name
from superedge.grid.cloud.grids import Grid
from superedge.grid.cloud.types import Condition, ServiceGridStatus, SiteState, WorkloadGridStatus
from superedge.grid.cloud.waves import Wave

NAMED = 3
"""Sites that a condition names; of further ones it says how many there are."""
MAX_MESSAGE = 400
MAX_STATES = 2000
"""Sites of which the status tells the state, those first that are not ready; an object has 1.5 MB at most."""


class Problem(NamedTuple):
    """What is wrong with a site: one word, and a sentence that says what to do where that helps."""

    reason: str
    message: str


class SiteView(NamedTuple):
    """A site as it is: ``child`` is its workload, ``notice`` a remark about a site that is well."""

    site: str
    child: Child | None
    problem: Problem | None = None
    notice: str = ""
    leaving: bool = False
    """Whether no node has the site any more."""
    settled: bool = True
    """Whether the controller has looked at it since the grid has changed."""


def workload_status(grid: Grid, views: Sequence[SiteView], wave: Wave | None, now: str) -> WorkloadGridStatus:
    """The status of a DeploymentGrid or StatefulSetGrid; ``now`` is a metav1.Time."""
    states: dict[str, SiteState] = {}
    problems: list[tuple[str, Problem]] = []
    updated = ready = complete = sites = 0
    for view in views:
        child = view.child
        has = _has_template(grid, view)
        well = child is not None and child.ready and _is_own(grid, child)
        problem = view.problem or _failure(child, has)
        if problem is not None:
            problems.append((view.site, problem))
        message = (problem.message if problem is not None else view.notice)[:MAX_MESSAGE]
        states[view.site] = SiteState(
            name=workload_name(grid, view.site) if child is None else child.key.name,
            template="" if view.leaving else grid.template_name(view.site),
            templateHash="" if child is None else child.template_hash,
            replicas=0 if child is None else child.replicas,
            updatedReplicas=0 if child is None else child.status.updatedReplicas,
            readyReplicas=0 if child is None else child.status.readyReplicas,
            ready=well,
            message=message,
        )
        sites += not view.leaving
        updated += has
        ready += well and not view.leaving
        complete += is_complete(grid, view)
    conditions = [_ready(grid, sites, ready, complete, problems), _degraded(problems)]
    if wave is not None:
        conditions.append(_progressing(wave))
    return WorkloadGridStatus(
        observedGeneration=grid.generation,
        sites=sites,
        updatedSites=updated,
        readySites=ready,
        conditions=_since(conditions, grid, now),
        states=_bounded(states),
    )


def is_complete(grid: Grid, view: SiteView) -> bool:
    """Whether a site has no pods but those of its template, and these are ready."""
    child = view.child
    well = view.settled and view.problem is None and child is not None and child.rolled_out
    return well and _has_template(grid, view)


def _has_template(grid: Grid, view: SiteView) -> bool:
    template = None if view.leaving else grid.template(grid.template_name(view.site))
    return template is not None and view.child is not None and view.child.template_hash == template.hash


def _is_own(grid: Grid, child: Child) -> bool:
    return child.controller is not None and child.controller.uid == grid.uid


def _bounded(states: dict[str, SiteState]) -> dict[str, SiteState]:
    if len(states) <= MAX_STATES:
        return states
    chosen = sorted(states, key=lambda site: states[site].ready and not states[site].message)[:MAX_STATES]
    return {site: states[site] for site in sorted(chosen)}


def service_status(grid: Grid, child: Child | None, problem: Problem | None, now: str) -> ServiceGridStatus:
    """The status of a ServiceGrid."""
    name = service_name(grid)
    there = child is not None and problem is None
    if there:
        ready = Condition("Ready", "True", "ServiceThere", f"Service {name} is there")
    elif problem is not None:
        ready = Condition("Ready", "False", problem.reason, problem.message[:MAX_MESSAGE])
    else:
        ready = Condition("Ready", "False", "ServiceMissing", f"Service {name} is not there yet")
    degraded = _degraded([] if problem is None else [(name, problem)])
    return ServiceGridStatus(
        observedGeneration=grid.generation,
        service=name,
        clusterIP="" if child is None else child.cluster_ip,
        conditions=_since([ready, degraded], grid, now),
    )


def _failure(child: Child | None, has: bool) -> Problem | None:
    """What the Deployment itself says, when that is about the template that the site is to have."""
    if child is None or not has or child.rolled_out or not child.failure:
        return None
    return Problem("SiteNotReady", child.failure)


def _ready(
    grid: Grid, sites: int, ready: int, complete: int, problems: Sequence[tuple[str, Problem]]
) -> Condition:
    if not sites:
        return Condition("Ready", "False", "NoSites", f"no node has the label {grid.site_key}")
    if complete == sites and not problems:
        return Condition("Ready", "True", "SitesReady", f"{_sites(sites)} ready")
    message = f"{ready} of {_sites(sites)} ready, {complete} with all pods of the template"
    return Condition("Ready", "False", "SitesNotReady", message)


def _degraded(problems: Sequence[tuple[str, Problem]]) -> Condition:
    if not problems:
        return Condition("Degraded", "False", "AsExpected", "")
    said = [f"{site}: {problem.message[:MAX_MESSAGE]}" for site, problem in problems[:NAMED]]
    if len(problems) > NAMED:
        said.append(f"and {_sites(len(problems) - NAMED)} more")
    return Condition("Degraded", "True", problems[0][1].reason, "; ".join(said))


def _progressing(wave: Wave) -> Condition:
    have = f"{wave.updated} of {_sites(wave.total)} have the template"
    if wave.failed:
        names = _some(wave.failed)
        said = f"{have}: stopped, since {names} did not become ready with it"
        return Condition("Progressing", "False", "RolloutStopped", said)
    if wave.unready:
        return Condition("Progressing", "True", "SitesUpdating", f"{have}: waiting for {_some(wave.unready)}")
    if wave.complete:
        return Condition("Progressing", "False", "RolloutComplete", have)
    if wave.paused:
        said = f"{have}: paused by rollout.pauseAfter; raise it or take it away to go on"
        return Condition("Progressing", "False", "RolloutPaused", said)
    return Condition("Progressing", "True", "SitesUpdating", have)


def _sites(count: int) -> str:
    return "1 site" if count == 1 else f"{count} sites"


def _some(names: Sequence[str]) -> str:
    more = [f"{len(names) - NAMED} more"] if len(names) > NAMED else []
    return ", ".join([*names[:NAMED], *more])


def _since(conditions: Iterable[Condition], grid: Grid, now: str) -> list[Condition]:
    """The conditions, each with the time since when it has its status."""
    before: Mapping[str, Condition] = {each.type: each for each in grid.status.conditions}
    found = []
    for each in conditions:
        known = before.get(each.type)
        since = known.lastTransitionTime if known is not None and known.status == each.status else now
        found.append(
            Condition(each.type, each.status, each.reason, each.message, since or now, grid.generation)
        )
    return found
