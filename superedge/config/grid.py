"""The application grid: its controller in the cloud, and what a node sees of its Services."""

from __future__ import annotations

from typing import Literal

import msgspec

from superedge.config.checks import check_not_negative, check_positive


class ApplicationGridConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Makes a workload for each site; of several replicas one does, chosen by a Lease."""

    #: Whether the three kinds are installed, and kept up to date, in the cluster; otherwise apply
    #: `deploy/kubernetes/grid-crds.yaml`.
    install_crds: bool = False
    #: Average number of writes to the API server in a second.
    qps: float = 100.0
    #: Number of writes that may follow a pause at once.
    burst: int = 200
    #: Seconds for which a site whose last node is gone keeps its workload.
    site_grace: float = 300.0

    def __post_init__(self) -> None:
        """Check numbers."""
        check_positive(qps=self.qps, burst=self.burst)
        check_not_negative(site_grace=self.site_grace)


class GridFilterConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which endpoints a node sees of a Service with topology keys."""

    #: Name of this node's Node object.
    node: str
    #: What a node sees of a Service when it has none of the labels that the Service names: `everything` or
    #: `nothing`.
    unlabelled: Literal["everything", "nothing"] = "everything"
