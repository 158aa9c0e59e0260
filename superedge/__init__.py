"""SuperEdge: one Kubernetes cluster across a cloud and many remote sites.

Each sub-package says what lives in it; docs/architecture.md has the map.
"""

__version__ = "0.1.0"
