"""Prometheus metrics of the DNS servers; those of the node-local one have CoreDNS's names."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from superedge.metrics import FastCounter, FastHistogram

QUERIES = Counter("superedge_dns_queries", "Questions by what became of them", ["outcome"])
UPSTREAM_FAILURES = Counter(
    "superedge_dns_upstream_failures", "Forwarded questions that an upstream did not answer", ["upstream"]
)

_BOUNDS = [0.00025 * 2**power for power in range(16)]

REQUESTS = FastCounter("coredns_dns_requests", "Questions", ["zone", "proto", "type"])
RESPONSES = FastCounter("coredns_dns_responses", "Answers", ["zone", "rcode", "plugin"])
DURATION = FastHistogram(
    "coredns_dns_request_duration_seconds",
    "Time to an answer; an answer that is at hand counts as 0",
    ["zone"],
    _BOUNDS,
)
CACHE_HITS = FastCounter("coredns_cache_hits", "Answers from the cache", ["type"])
CACHE_MISSES = FastCounter("coredns_cache_misses", "Questions that the cache had no fresh answer to", [])
CACHE_STALE = Counter("coredns_cache_served_stale", "Answers beyond their lifetime")
FORWARD_OVERLOAD = Counter("coredns_forward_max_concurrent_rejects", "Questions that were one too many")
FORWARD_BROKEN = Counter(
    "coredns_forward_healthcheck_broken", "Questions while no upstream server of their zone answered"
)
UPSTREAM_DURATION = FastHistogram(
    "coredns_proxy_request_duration_seconds",
    "Time to an upstream server's answer",
    ["proxy_name", "to", "rcode"],
    _BOUNDS,
)
PROBE_FAILURES = Counter(
    "coredns_proxy_healthcheck_failures",
    "Questions of the server's own that an upstream server did not answer",
    ["proxy_name", "to"],
)
PROXY = "forward"
"""Label ``proxy_name``: the link that asks."""
SERVICES = Gauge("superedge_dns_services", "Services in the cluster's zone")
ZONE = "."
"""Label ``zone``: one chain answers for all names."""
