"""Prometheus metrics of the DNS server."""

from __future__ import annotations

from prometheus_client import Counter

QUERIES = Counter("superedge_dns_queries", "Questions by what became of them", ["outcome"])
UPSTREAM_FAILURES = Counter(
    "superedge_dns_upstream_failures", "Forwarded questions that an upstream did not answer", ["upstream"]
)
