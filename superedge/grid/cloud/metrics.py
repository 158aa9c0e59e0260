"""Prometheus metrics of the controller."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

LEADING = Gauge("superedge_grid_leading", "1 on the replica that makes the sites' workloads")
GRIDS = Gauge("superedge_grid_grids", "Grids that are followed", ["kind"])
SITES = Gauge("superedge_grid_sites", "Sites of all grids by state: ready, waiting or degraded", ["state"])
WRITES = Counter("superedge_grid_writes", "Writes to the API server by kind and outcome", ["kind", "outcome"])


def clear() -> None:
    """This replica follows no grids any more: their numbers are the next leader's."""
    GRIDS.clear()
    SITES.clear()
