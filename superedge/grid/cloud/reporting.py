"""Writes grids' statuses when they change, and says in events, log and metrics what became of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from msgspec.structs import replace
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from superedge.grid.cloud import metrics
from superedge.grid.cloud.grids import Grid
from superedge.grid.cloud.kinds import API_VERSION, SERVICE_GRID, GridKey
from superedge.grid.cloud.status import SiteView, is_complete, service_status, workload_status
from superedge.grid.cloud.types import CONDITIONS, Condition
from superedge.grid.cloud.waves import Wave
from superedge.grid.cloud.writing import Writer
from superedge.kube.events import EventRecorder, Reference
from superedge.kube.times import kube_time

SOON, SOON_FOR_EACH_SITE = 0.1, 0.0004
"""Seconds after a change at which a grid is looked at, and more for each site: it costs that much."""
PAUSE, PAUSE_FOR_EACH_SITE = 0.5, 0.002
"""Seconds between two writes of a grid's status, and more for each site: so much longer is the status."""

_EVENTS: dict[tuple[str, str], Literal["Normal", "Warning"]] = {
    ("Ready", "SitesReady"): "Normal",
    ("Progressing", "RolloutStopped"): "Warning",
    ("Progressing", "RolloutPaused"): "Normal",
    ("Progressing", "RolloutComplete"): "Normal",
}
_log = Logger()


class Reporter:
    """Each grid's status, at most once in a pause that grows with its sites."""

    def __init__(
        self, reactor: IReactorTime, writer: Writer, events: EventRecorder, wall: Callable[[], float]
    ) -> None:
        self._reactor = reactor
        self._writer = writer
        self._events = events
        self._wall = wall
        self._told: dict[GridKey, float] = {}
        self._counts: dict[GridKey, tuple[int, int, int]] = {}

    def delay(self, sites: int) -> float:
        """Seconds after which a change of a grid with so many sites is looked at."""
        return SOON + sites * SOON_FOR_EACH_SITE

    async def report(self, grid: Grid, views: Sequence[SiteView], wave: Wave | None) -> Grid | float:
        """Write the status if it is another one. Returns the grid as it is then, or seconds to wait first.

        Raises APIError, Unavailable.
        """
        status = self._status(grid, views, wave)
        self._count(grid, views, status)
        if status == _own(grid.status):
            return grid
        now = self._reactor.seconds()
        pause = PAUSE + len(views) * PAUSE_FOR_EACH_SITE
        wait = self._told.get(grid.key, now - pause) + pause - now
        if wait > 0:
            return wait
        self._told[grid.key] = now
        told = await self._writer.tell(grid, status)
        if told is None:
            return grid
        self._say(grid, status.conditions)
        return told

    def _status(self, grid: Grid, views: Sequence[SiteView], wave: Wave | None) -> Any:
        now = kube_time(self._wall())
        if grid.kind is SERVICE_GRID:
            (view,) = views
            return service_status(grid, view.child, view.problem, now)
        return workload_status(grid, views, wave, now)

    def _count(self, grid: Grid, views: Sequence[SiteView], status: Any) -> None:
        if grid.kind is SERVICE_GRID:
            return
        ready = sum(is_complete(grid, view) for view in views)
        degraded = sum(view.problem is not None for view in views)
        self._counts[grid.key] = ready, max(0, status.sites - ready - degraded), degraded
        self._gauge()

    def _gauge(self) -> None:
        totals = map(sum, zip(*self._counts.values(), strict=True)) if self._counts else (0, 0, 0)
        for state, total in zip(("ready", "waiting", "degraded"), totals, strict=True):
            metrics.SITES.labels(state).set(total)

    def _say(self, grid: Grid, conditions: Sequence[Condition]) -> None:
        """Events for conditions that are others than before."""
        before: Mapping[str, Condition] = {each.type: each for each in grid.status.conditions}
        for each in conditions:
            known = before.get(each.type)
            if known is not None and (known.status, known.reason) == (each.status, each.reason):
                continue
            if each.type == "Degraded" and (each.status == "True" or known is not None):
                bad = each.status == "True"
                self.event(
                    grid,
                    "Warning" if bad else "Normal",
                    each.reason if bad else "Recovered",
                    each.message if bad else "no site is degraded any more",
                )
            elif (kind := _EVENTS.get((each.type, each.reason))) is not None:
                self.event(grid, kind, each.reason, each.message)

    def event(self, grid: Grid, kind: Literal["Normal", "Warning"], reason: str, note: str) -> None:
        """An event about a grid, and a log line."""
        write = _log.warn if kind == "Warning" else _log.info
        write("{grid}: {note}", grid=str(grid.key), note=note)
        key = grid.key
        self._events.record(
            Reference(API_VERSION, key.kind, key.name, grid.uid, key.namespace), kind, reason, note
        )

    def removed(self, grid: Grid, site: str, name: str) -> None:
        """A site's workload is removed."""
        note = f"site {site} has no node any more: {grid.kind.child} {name} is removed"
        self.event(grid, "Normal", "SiteRemoved", note)

    def forget(self, key: GridKey) -> None:
        """The grid is gone."""
        self._told.pop(key, None)
        if self._counts.pop(key, None) is not None:
            self._gauge()

    def summary(self, grid: Grid) -> dict[str, Any]:
        """For the status page."""
        found = {each.type: each.message or each.status for each in grid.status.conditions}
        if grid.kind is SERVICE_GRID:
            return {"service": grid.status.service, "conditions": found}
        status = grid.status
        return {
            "sites": status.sites,
            "updated": status.updatedSites,
            "ready": status.readySites,
            "conditions": found,
        }


def _own(status: Any) -> Any:
    """A grid's status without conditions that others have added."""
    return replace(status, conditions=[each for each in status.conditions if each.type in CONDITIONS])
