"""The controller: makes each site's workload as its grid says, and tells in the grid's status how it stands.

A key of the queue is a site of a grid, so that one site's trouble holds up no other; another queue has the
grids, for waves and status.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import time
from typing import Any, NamedTuple

import msgspec
from twisted.application.service import MultiService
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from superedge.grid.cloud import checks, children, grids, metrics
from superedge.grid.cloud.children import Child, ChildKey, Fingerprint
from superedge.grid.cloud.desired import service, workload
from superedge.grid.cloud.differences import satisfied
from superedge.grid.cloud.grids import Grid
from superedge.grid.cloud.kinds import KINDS, SERVICE_GRID, GridKey, Kind
from superedge.grid.cloud.leaving import Leaving
from superedge.grid.cloud.naming import digest
from superedge.grid.cloud.reporting import Reporter
from superedge.grid.cloud.rollouts import Rollouts
from superedge.grid.cloud.sites import read_labels
from superedge.grid.cloud.status import Problem, SiteView
from superedge.grid.cloud.view import View
from superedge.grid.cloud.writing import NameTaken, Writer
from superedge.grid.names import GRID_SELECTOR
from superedge.kube.client import NODES, IKubeClient
from superedge.kube.errors import APIError
from superedge.kube.events import EventRecorder
from superedge.kube.reflector import Key, Reflector
from superedge.kube.workqueue import WorkQueue
from superedge.reactor.loops import Loop

WORKERS = 16
RETRY_MAXIMUM = 300.0
"""Longest seconds between two attempts at a site."""
TAKEN_RETRY = 30.0
"""Seconds between two attempts at a name that an object has which no grid made: that one is not followed."""
UNSETTLED = 5.0
"""Seconds after a change of a grid for which its status waits until all sites have been looked at."""
_TRANSIENT = (409, 429, 503, 504)
"""Answers that only another attempt mends; a 500 may be about a field that the API server does not know."""
_log = Logger()


class SiteKey(NamedTuple):
    """A site of a grid; a ServiceGrid has one, without a name."""

    grid: GridKey
    site: str

    def __str__(self) -> str:
        return f"{self.grid}, site {self.site}" if self.site else str(self.grid)


class Controller(MultiService):
    """Follows grids, Nodes and children while it runs, and writes what differs."""

    def __init__(
        self,
        reactor: IReactorTime,
        client: IKubeClient,
        events: EventRecorder,
        grace: float,
        wall: Callable[[], float] = time,
    ) -> None:
        """``grace``: seconds for which a site without nodes keeps its workload."""
        super().__init__()
        self._reactor = reactor
        self._writer = Writer(client)
        self._view = View()
        self._problems: dict[GridKey, dict[str, Problem]] = {}
        self._notices: dict[GridKey, dict[str, str]] = {}
        self._settled: dict[ChildKey, tuple[str, Fingerprint]] = {}
        self._writing: set[ChildKey] = set()
        self._taken: dict[ChildKey, set[SiteKey]] = {}
        """Sites whose workload's name another object has."""
        self._seen: dict[GridKey, dict[str, int]] = {}
        """The grid's generation at which each site was looked at."""
        self._changed: dict[GridKey, float] = {}
        self._rollouts = Rollouts(reactor, self._view, self._look_again)
        self._leaving = Leaving(reactor, wall, grace)
        self._reporter = Reporter(reactor, self._writer, events, wall)
        self.sites: WorkQueue[SiteKey] = WorkQueue(reactor, self._site, WORKERS, maximum=RETRY_MAXIMUM)
        self.grids: WorkQueue[GridKey] = WorkQueue(reactor, self._grid)
        self._reflectors: list[Reflector[Any]] = [
            Reflector(reactor, client, NODES.path(), read_labels, self._node_changed)
        ]
        for kind in KINDS:
            self._reflectors += [
                Reflector(
                    reactor, client, kind.resource.path(), grids.reader(kind), self._grid_changed(kind)
                ),
                Reflector(
                    reactor, client, kind.child_resource.path(), children.reader(kind),
                    self._child_changed(kind), GRID_SELECTOR,
                ),
            ]  # fmt: skip
        self._starting = Loop(reactor, "starting the grid controller", self._begin)

    def startService(self) -> None:
        """Read the cluster, then begin."""
        super().startService()
        for reflector in self._reflectors:
            reflector.startService()
        self._starting.start()

    def stopService(self) -> Any:
        """Do no more; what was made stays."""
        self._starting.stop()
        for reflector in self._reflectors:
            reflector.stopService()
        for queue in (self.sites, self.grids):
            queue.stopService()
        metrics.clear()
        return super().stopService()

    async def _begin(self) -> None:
        for reflector in self._reflectors:
            await reflector.when_synced()
        for grid in list(self._view.grids.values()):
            self._all_sites(grid)
        self.sites.startService()
        self.grids.startService()

    @property
    def synced(self) -> bool:
        """Whether the cluster was read."""
        return all(reflector.synced for reflector in self._reflectors)

    def problems(self) -> list[str]:
        """Collections that cannot be read now, each with the reason."""
        return [each.problem for each in self._reflectors if each.problem]

    # -- news

    def _node_changed(self, key: Key, labels: Any) -> None:
        changed = self._view.sites.put(key.name, labels)
        for label, site in changed:
            for grid in self._view.grids.values():
                if grid.kind is not SERVICE_GRID and grid.site_key == label:
                    self.sites.add(SiteKey(grid.key, site))
                    self._touch(grid.key)

    def _grid_changed(self, kind: Kind) -> Callable[[Key, Grid | None], None]:
        def changed(key: Key, grid: Grid | None) -> None:
            if grid is None:
                self._forget(GridKey(kind.name, *key))
            else:
                self._put_grid(grid)

        return changed

    def _put_grid(self, grid: Grid) -> None:
        known = self._view.grids.get(grid.key)
        if known is None:
            metrics.GRIDS.labels(grid.key.kind).inc()
        if self._view.put_grid(grid) and (known is None or not grid.says_the_same(known)):
            self._all_sites(grid)

    def _forget(self, key: GridKey) -> None:
        metrics.GRIDS.labels(key.kind).dec()
        for known in (self._view.grids, self._problems, self._notices, self._seen, self._changed):
            known.pop(key, None)
        self._rollouts.forget(key)
        self._reporter.forget(key)
        self._leaving.forget(key)

    def _all_sites(self, grid: Grid) -> None:
        self._changed[grid.key] = self._reactor.seconds()
        self._rollouts.plan(grid)
        for site in {*self._view.live(grid), *self._view.children(grid.key)}:
            self.sites.add(SiteKey(grid.key, site))
        self._touch(grid.key)

    def _child_changed(self, kind: Kind) -> Callable[[Key, Child | None], None]:
        def changed(key: Key, child: Child | None) -> None:
            child_key = ChildKey(kind.name, *key)
            known = self._view.child(child_key)
            if child is None:
                self._settled.pop(child_key, None)
                self._writing.discard(child_key)
                self._view.drop_child(child_key)
            elif not self._view.put_child(child):
                return
            for waiting in self._taken.pop(child_key, ()):
                self.sites.add(waiting)
            for each in (known, child):
                if each is not None:
                    self._touch(each.grid)
                    if known is None or child is None or known.fingerprint != child.fingerprint:
                        self.sites.add(SiteKey(each.grid, each.site))

        return changed

    def _touch(self, key: GridKey) -> None:
        """A grid's waves and status may be others now: look soon, once for many changes."""
        self.grids.add_after(key, self._reporter.delay(len(self._view.children(key))))

    def _look_again(self, key: GridKey, seconds: float) -> None:
        self.grids.add_after(key, seconds)

    # -- sites

    async def _site(self, key: SiteKey) -> None:
        grid = self._view.grids.get(key.grid)
        if grid is None or grid.deleting:
            return
        live = key.site in self._view.live(grid)
        wanted = self._view.child_key(grid, key.site)
        if not live:
            self._note(grid, key.site)
            await self._leave(grid, key)
            return
        self._leaving.stays(grid.key, key.site)
        try:
            problem = await self._put_right(grid, key.site, wanted, self._view.child(wanted))
        except NameTaken as taken:
            owner = taken.child.controller
            if owner is not None and owner.uid == grid.uid:  # it lost the label by which it is followed
                problem = await self._put_right(grid, key.site, wanted, taken.child)
            else:
                problem = checks.name_taken(grid, wanted.name)
                self._taken.setdefault(wanted, set()).add(key)
                self.sites.add_after(key, TAKEN_RETRY)
            self._note(grid, key.site, problem)
        except APIError as refusal:
            if refusal.code not in _TRANSIENT:
                self._note(grid, key.site, checks.refused(refusal))
            raise
        else:
            self._note(grid, key.site, problem)

    async def _put_right(self, grid: Grid, site: str, key: ChildKey, child: Child | None) -> Problem | None:
        """Make a site's child as it is to be. Returns what stands in the way."""
        if child is not None:
            if child.deleting:
                self._notice(grid.key, site, f"waits until {grid.kind.child} {child.key.name} is deleted")
                return None
            if (problem := checks.belongs_elsewhere(grid, child)) is not None:
                self._taken.setdefault(key, set()).add(SiteKey(grid.key, site))
                return problem
        if grid.kind is SERVICE_GRID:
            wanted = service(grid)
        else:
            name = grid.template_name(site)
            template = grid.template(name)
            if template is None:
                return checks.missing_template(name)
            wanted = workload(grid, site, template, child)
            if child is not None:
                if self._rollouts.holds(grid, site, template, child, wanted):
                    return None
                if (problem := checks.unmatched_selector(grid, child, wanted)) is not None:
                    return problem
                self._notice(grid.key, site, checks.notice(grid, site, template, child))
        await self._apply(grid, key, child, wanted)
        return None

    async def _apply(self, grid: Grid, key: ChildKey, child: Child | None, wanted: dict[str, Any]) -> None:
        told = digest(msgspec.json.encode(wanted))
        if child is not None:
            if self._settled.get(key) == (told, child.fingerprint):
                return
            if not child.inherited and _up_to_date(child, wanted):
                self._settled[key] = told, child.fingerprint
                return
        self._writing.add(key)
        try:
            child = await self._write(grid, key, child, wanted)
        finally:
            there = key in self._writing  # unless the watch has told of its deletion in the meantime
            self._writing.discard(key)
        if there:
            self._settled[key] = told, child.fingerprint
            self._view.put_child(child)
            self._touch(grid.key)

    async def _write(self, grid: Grid, key: ChildKey, child: Child | None, wanted: dict[str, Any]) -> Child:
        if child is None:
            made = await self._writer.make(grid, wanted)
            _log.info("{grid}: {name} is made", grid=str(grid.key), name=key.name)
            return made
        if child.inherited:
            await self._writer.inherit(grid, child)
            _log.info("{grid}: {name} is taken over", grid=str(grid.key), name=key.name)
        changed = await self._writer.change(grid, child, wanted)
        _log.info("{grid}: {name} is brought up to date", grid=str(grid.key), name=key.name)
        return changed

    async def _leave(self, grid: Grid, key: SiteKey) -> None:
        """A site has no node any more: its workload goes after the grace period, if the API server agrees."""
        wanted = {self._view.child_key(grid, site) for site in self._view.live(grid)}
        for child in list(self._view.children(grid.key).get(key.site, {}).values()):
            owner = child.controller
            if owner is None or owner.uid != grid.uid or child.deleting or child.key in wanted:
                continue
            left = self._leaving.left(grid.key, key.site)
            self._touch(grid.key)
            if left > 0:
                self.sites.add_after(key, left)
            elif await self._writer.has_nodes(grid.site_key, key.site):
                self.sites.add_after(key, max(self._leaving.grace, 1.0))
            else:
                await self._writer.remove(grid, child)
                self._reporter.removed(grid, key.site, child.key.name)

    def _note(self, grid: Grid, site: str, problem: Problem | None = None) -> None:
        key = grid.key
        self._seen.setdefault(key, {})[site] = grid.generation
        noted = self._problems.setdefault(key, {})
        if problem != noted.get(site):
            if problem is None:
                del noted[site]
            else:
                noted[site] = problem
                _log.warn("{grid}: site {site}: {problem}", grid=str(key), site=site, problem=problem.message)
            self._touch(key)

    def _notice(self, key: GridKey, site: str, notice: str) -> None:
        notices = self._notices.setdefault(key, {})
        if notice != notices.get(site, ""):
            notices.pop(site, None)
            if notice:
                notices[site] = notice
            self._touch(key)

    # -- grids

    async def _grid(self, key: GridKey) -> None:
        grid = self._view.grids.get(key)
        if grid is None or grid.deleting:
            return
        before, wave = self._rollouts.wave(key), self._rollouts.plan(grid)
        if wave is not None and wave != before:
            for site in wave.allowed:
                self.sites.add(SiteKey(key, site))
        if grid.kind is not SERVICE_GRID and grid.spec.autoDeleteUnusedTemplate:
            unused = grid.unused_templates()
            if unused:
                await self._writer.drop_templates(grid, unused)
        views = self._views(grid)
        waited = self._reactor.seconds() - self._changed.get(key, 0.0)
        if waited < UNSETTLED and not all(view.settled for view in views):
            self._touch(key)
            return
        told = await self._reporter.report(grid, views, wave)
        if not isinstance(told, Grid):
            self.grids.add_after(key, told)
        elif key in self._view.grids:
            self._put_grid(told)

    def _views(self, grid: Grid) -> Sequence[SiteView]:
        live, there = self._view.live(grid), self._view.children(grid.key)
        problems, notices = self._problems.get(grid.key, {}), self._notices.get(grid.key, {})
        seen = self._seen.get(grid.key, {})
        found = [
            SiteView(
                site,
                self._view.child(self._view.child_key(grid, site)),
                problems.get(site),
                notices.get(site, ""),
                settled=seen.get(site) == grid.generation,
            )
            for site in sorted(live)
        ]
        for site in sorted(set(there) - set(live)):
            child = next(iter(there[site].values()))
            found.append(SiteView(site, child, None, self._leaving.notice(grid.key, site), leaving=True))
        return found

    def status(self) -> dict[str, Any]:
        """For the status page: each grid's counts and conditions."""
        return {
            "synced": self.synced,
            "problems": self.problems(),
            "waiting": len(self.sites),
            "grids": {str(key): self._reporter.summary(grid) for key, grid in self._view.grids.items()},
        }


def _up_to_date(child: Child, wanted: dict[str, Any]) -> bool:
    """Whether a child has all that is wanted, and no label or annotation that is wanted no more."""
    metadata = wanted["metadata"]
    if not child.fingerprint.owned <= {*metadata["labels"], *metadata["annotations"]}:
        return False
    there = child.whole()
    return satisfied(metadata, there["metadata"]) and satisfied(wanted["spec"], there["spec"])
