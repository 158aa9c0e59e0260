"""Prometheus metrics of the network snapshots."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

WRITTEN = Counter("superedge_network_snapshots_written", "Snapshots written")
FAILURES = Counter("superedge_network_snapshot_failures", "Snapshots that could not be made or written")
READINGS = Counter("superedge_network_snapshot_readings", "Readings of the node's network")
READING_SECONDS = Counter(
    "superedge_network_snapshot_cpu_seconds", "CPU time of the processes that read the node's network"
)
OVERRUNS = Counter("superedge_network_snapshot_overruns", "Times that the kernel dropped messages")
RESERVATIONS = Gauge("superedge_network_reservations", "Addresses of pods in superedge-ipam", ["state"])
RELEASED = Counter("superedge_network_reservations_released", "Reservations ended because the pod is gone")
