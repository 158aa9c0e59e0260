"""What the controller knows of the cluster. Pure.

An answer to a write is known before the watch brings it, and a watch may bring something older afterwards:
the newest version counts.
"""

from __future__ import annotations

from collections.abc import Mapping

from superedge.grid.cloud.children import Child, ChildKey
from superedge.grid.cloud.desired import service_name, workload_name
from superedge.grid.cloud.grids import Grid
from superedge.grid.cloud.kinds import SERVICE_GRID, GridKey
from superedge.grid.cloud.sites import Sites
from superedge.kube.objects import version_number


class View:
    """The Nodes' sites, the grids, and their children."""

    def __init__(self) -> None:
        self.sites = Sites()
        self.grids: dict[GridKey, Grid] = {}
        self._children: dict[ChildKey, Child] = {}
        self._by_site: dict[GridKey, dict[str, dict[ChildKey, Child]]] = {}

    def put_grid(self, grid: Grid) -> bool:
        """A grid as it is now. Whether that is new."""
        known = self.grids.get(grid.key)
        if known is not None and not _newer(grid, known):
            return False
        self.grids[grid.key] = grid
        return True

    def put_child(self, child: Child) -> bool:
        """A child as it is now. Whether that is new."""
        known = self._children.get(child.key)
        if known is not None:
            if not _newer(child, known):
                return False
            self.drop_child(child.key)
        self._children[child.key] = child
        self._by_site.setdefault(child.grid, {}).setdefault(child.site, {})[child.key] = child
        return True

    def drop_child(self, key: ChildKey) -> Child | None:
        """A child is gone. Returns what it was."""
        child = self._children.pop(key, None)
        if child is not None:
            sites = self._by_site[child.grid]
            del sites[child.site][key]
            if not sites[child.site]:
                del sites[child.site]
                if not sites:
                    del self._by_site[child.grid]
        return child

    def child(self, key: ChildKey) -> Child | None:
        """A child by its key."""
        return self._children.get(key)

    def child_key(self, grid: Grid, site: str) -> ChildKey:
        """The key of a site's workload, or of a ServiceGrid's Service."""
        name = service_name(grid) if grid.kind is SERVICE_GRID else workload_name(grid, site)
        return ChildKey(grid.key.kind, grid.key.namespace, name)

    def children(self, grid: GridKey) -> Mapping[str, Mapping[ChildKey, Child]]:
        """A grid's children by site."""
        return self._by_site.get(grid, {})

    def live(self, grid: Grid) -> Mapping[str, set[str]]:
        """A grid's sites that have nodes; a ServiceGrid has one for all."""
        return {"": set()} if grid.kind is SERVICE_GRID else self.sites.of(grid.site_key)


def _newer(new: Grid | Child, known: Grid | Child) -> bool:
    return new.uid != known.uid or version_number(new.version) > version_number(known.version)
