"""The rollouts that are under way: which sites may take a new default template, and which wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime

from superedge.grid.cloud.children import Child, ChildKey
from superedge.grid.cloud.differences import satisfied
from superedge.grid.cloud.grids import Grid, Template
from superedge.grid.cloud.kinds import SERVICE_GRID, GridKey
from superedge.grid.cloud.view import View
from superedge.grid.cloud.waves import Taker, Wave, next_wave

NOT_READY_AFTER = 600.0
"""Seconds after which a site that took a template and is not ready stops its rollout, as a Deployment's
progressDeadlineSeconds by default."""


class Rollouts:
    """The newest wave of each grid that has a rollout."""

    def __init__(
        self, reactor: IReactorTime, view: View, look_again: Callable[[GridKey, float], None]
    ) -> None:
        """``look_again`` asks for another plan of a grid in so many seconds."""
        self._reactor = reactor
        self._view = view
        self._look_again = look_again
        self._waves: dict[GridKey, Wave] = {}
        self._unready: dict[GridKey, dict[ChildKey, tuple[str, float]]] = {}

    def wave(self, key: GridKey) -> Wave | None:
        """The newest wave; None without a rollout."""
        return self._waves.get(key)

    def forget(self, key: GridKey) -> None:
        """The grid is gone, or has no rollout any more."""
        self._waves.pop(key, None)
        self._unready.pop(key, None)

    def plan(self, grid: Grid) -> Wave | None:
        """The wave as things are now."""
        rollout = None if grid.kind is SERVICE_GRID else grid.spec.rollout
        template = None if rollout is None else grid.template(grid.default_name)
        if rollout is None or template is None:
            self.forget(grid.key)
            return None
        takers = []
        for site in self._view.live(grid):
            child = self._view.child(self._view.child_key(grid, site))
            if child is not None and grid.template_name(site) == grid.default_name:
                takers.append(self._taker(grid, site, template, child))
        wave = self._waves[grid.key] = next_wave(rollout, takers)
        return wave

    def _taker(self, grid: Grid, site: str, template: Template, child: Child) -> Taker:
        updated = child.template_hash == template.hash
        order = self._view.sites.ordinal(grid.site_key, site, grid.spec.rollout.orderBy)
        unready = self._unready.setdefault(grid.key, {})
        if not updated or child.rolled_out:
            unready.pop(child.key, None)
            return Taker(site, order, updated, child.rolled_out)
        now = self._reactor.seconds()
        hash_, since = unready.get(child.key, ("", now))
        if hash_ != template.hash:
            since = now
            unready[child.key] = template.hash, since
        left = since + NOT_READY_AFTER - now
        failure = child.failure
        if not failure and left > 0:
            self._look_again(grid.key, left)
        elif not failure:
            failure = f"not ready within {NOT_READY_AFTER:g} s"
        return Taker(site, order, updated, ready=False, failure=failure)

    def holds(self, grid: Grid, site: str, template: Template, child: Child, wanted: dict[str, Any]) -> bool:
        """Whether a site waits for its wave. What it has stays as it is until then."""
        wave = self._waves.get(grid.key)
        if wave is None or template.name != grid.default_name or child.template_hash == template.hash:
            return False
        pods = wanted["spec"]["template"]
        if not child.template_hash and satisfied(pods, child.whole()["spec"]["template"]):
            return False  # taken over from another controller, and its pods stay as they are
        return site not in wave.allowed
