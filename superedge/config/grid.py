"""The node's half of the application grid."""

from __future__ import annotations

from typing import Literal

import msgspec


class GridFilterConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which endpoints a node sees of a Service with topology keys."""

    #: Name of this node's Node object.
    node: str
    #: What a node sees of a Service when it has none of the labels that the Service names: `everything` or
    #: `nothing`.
    unlabelled: Literal["everything", "nothing"] = "everything"
