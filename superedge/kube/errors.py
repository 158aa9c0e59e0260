"""Faults of Kubernetes data, each one sentence."""

from __future__ import annotations

from superedge.errors import SuperEdgeError


class DecodeError(SuperEdgeError):
    """A body or a watch frame that is not what its media type says."""


class SelectorError(SuperEdgeError):
    """A selector that the API server would refuse too."""
