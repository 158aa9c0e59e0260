"""Prometheus metrics of both halves."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

PROBES = Counter("superedge_health_probes", "Checks of peers by outcome: passed or failed", ["outcome"])
PEERS = Gauge("superedge_health_peers", "Peers that this node probes, by its opinion of them", ["opinion"])
LINKS = Gauge("superedge_health_links", "Established links with other nodes")
HOPS = Gauge(
    "superedge_health_hops", "Links between this node and one with a session; 16 without a route to the cloud"
)
VOTES = Counter("superedge_health_votes", "Ballots that this node made")
LOCAL_HEALTH = Gauge(
    "superedge_health_local", "Level of the lateness of this process's timers: 0 (on time) to 8"
)
BALLOTS_TAKEN = Counter("superedge_health_ballots_taken", "New ballots of others", ["end"])
BALLOTS_REFUSED = Counter("superedge_health_ballots_refused", "Refused ballots by reason", ["end", "reason"])
LINKS_REFUSED = Counter("superedge_health_links_refused", "Refused connections of other nodes")

JUDGING = Gauge("superedge_health_judging", "1 on the replica that judges")
STREAMS = Gauge("superedge_health_streams", "Nodes that report to this replica")
NODES = Gauge("superedge_health_nodes", "Nodes of checked units by verdict", ["verdict"])
VERDICTS = Counter("superedge_health_verdicts", "Verdicts that changed, by the new one", ["verdict"])
OUTCOMES = Gauge(
    "superedge_health_outcomes", "Nodes of checked units by the outcome for their pods", ["outcome"]
)
WRITES = Counter(
    "superedge_health_writes", "Writes to the API server by kind and outcome", ["kind", "outcome"]
)
ENFORCEMENT = Gauge("superedge_health_enforcement", "1 if the enforcement was proven to work", ["kind"])
REVIEWS = Counter(
    "superedge_health_admission_reviews", "Requests of the API server to the webhook", ["outcome"]
)
REVIEW_SECONDS = Histogram(
    "superedge_health_admission_seconds",
    "From a review's body to its answer",
    buckets=(0.0003, 0.001, 0.003, 0.01, 0.03, 0.1),
)
