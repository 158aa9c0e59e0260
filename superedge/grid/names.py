"""Names that the API server, the controller and the nodes share."""

from __future__ import annotations

GROUP = "superedge.io"
VERSION = "v1"

GRID_SELECTOR = "superedge.io/grid-selector"
"""Label of what a grid made; its value is the grid's name."""
GRID_UNIQ_KEY = "superedge.io/grid-uniq-key"
"""Label and annotation of what a grid made: the node label whose values are the sites."""
GRID_SITE = "superedge.io/grid-site"
"""Label of a site's workload and of its pods: the site."""
TEMPLATE_HASH = "superedge.io/template-hash"
"""Annotation of what a grid made: the hash of the template that it has."""
TOPOLOGY_KEYS = "topologyKeys"
"""Annotation of a Service: a JSON list of the node labels by whose values its traffic stays inside a site."""
