"""Names that both halves of the application grid use. Sources: SuperEdge, application-grid-wrapper."""

TOPOLOGY_KEYS = "topologyKeys"
"""Annotation of a Service: a JSON list of the node labels whose values are the sites."""
