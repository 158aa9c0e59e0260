"""Which sites may take a new default template now. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from superedge.grid.cloud.types import Rollout


class Taker(NamedTuple):
    """A site that has a workload and is to have the default template.

    ``order`` is its place among the sites, ``failure`` says why it does not become ready.
    """

    site: str
    order: tuple[int, float, str]
    updated: bool
    ready: bool
    failure: str = ""


class Wave(NamedTuple):
    """``allowed`` are sites that may take the template now; all others that lack it wait."""

    allowed: frozenset[str]
    updated: int
    total: int
    unready: tuple[str, ...]
    """Sites that have it and are not ready yet."""
    failed: tuple[str, ...]
    paused: bool

    @property
    def complete(self) -> bool:
        """Whether every site has it."""
        return self.updated == self.total


def next_wave(rollout: Rollout, takers: Sequence[Taker]) -> Wave:
    """The next sites, in their order, as far as those before them are ready.

    A site that failed stops the rollout; sites that were unready before they took the template do not.
    """
    total = len(takers)
    updated = [each for each in takers if each.updated]
    unready = tuple(sorted(each.site for each in updated if not each.ready))
    failed = tuple(sorted(each.site for each in updated if each.failure and not each.ready))
    waiting = sorted((each for each in takers if not each.updated), key=lambda each: (each.order, each.site))
    pause = _count(rollout.pauseAfter, total, up=True)
    room = total if pause == 0 else max(0, pause - len(updated))
    free = max(0, max(1, _count(rollout.maxSitesUnavailable, total, up=False)) - len(unready))
    chosen = [] if failed else waiting[: min(room, free)]
    return Wave(
        frozenset(each.site for each in chosen),
        len(updated),
        total,
        unready,
        failed,
        bool(waiting) and room == 0,
    )


def _count(value: int | str, total: int, up: bool) -> int:
    """A number, or a percentage of ``total`` rounded up or down; 0 for what is neither."""
    if isinstance(value, int):
        return value
    percent = value.removesuffix("%")
    if not percent.isdecimal():
        return 0
    whole, rest = divmod(int(percent) * total, 100)
    return whole + (up and rest > 0)
