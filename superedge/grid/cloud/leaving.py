"""Sites whose last node is gone: how long their workloads still stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from twisted.internet.interfaces import IReactorTime

from superedge.grid.cloud.kinds import GridKey
from superedge.kube.times import kube_time


class _Due(NamedTuple):
    at: float
    wall: float


class Leaving:
    """Each site's time is counted from when it was first found without nodes."""

    def __init__(self, reactor: IReactorTime, wall: Callable[[], float], grace: float) -> None:
        """``grace``: seconds."""
        self._reactor = reactor
        self._wall = wall
        self.grace = grace
        self._due: dict[GridKey, dict[str, _Due]] = {}

    def left(self, grid: GridKey, site: str) -> float:
        """Seconds for which the site's workload still stays; 0 or less when it is to go."""
        now = self._reactor.seconds()
        sites = self._due.setdefault(grid, {})
        if site not in sites:
            sites[site] = _Due(now + self.grace, self._wall() + self.grace)
        return sites[site].at - now

    def stays(self, grid: GridKey, site: str) -> None:
        """It has a node."""
        self._due.get(grid, {}).pop(site, None)

    def notice(self, grid: GridKey, site: str) -> str:
        """A remark for the status."""
        due = self._due.get(grid, {}).get(site)
        if due is None:
            return "no node has this site"
        return f"no node has this site any more: its workload is removed at {kube_time(due.wall)}"

    def forget(self, grid: GridKey) -> None:
        """The grid is gone."""
        self._due.pop(grid, None)
