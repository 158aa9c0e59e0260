"""Prometheus metrics of lite-apiserver."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from superedge.metrics import FastCounter, FastHistogram

REQUESTS = FastCounter(
    "superedge_liteapiserver_requests",
    "Requests answered, by where the answer came from",
    ["verb", "resource", "code", "source"],
)
LATENCY = FastHistogram(
    "superedge_liteapiserver_request_seconds",
    "From a request's head to the start of its response",
    ["source"],
    (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
)
IN_FLIGHT = Gauge("superedge_liteapiserver_requests_in_flight", "Requests being answered, watches included")
WATCHES = Gauge(
    "superedge_liteapiserver_watches", "Watches open, by where they are answered from", ["source"]
)
ONLINE = Gauge(
    "superedge_liteapiserver_online", "1 while requests go to the cloud, 0 while the cache answers"
)
CAUSE = Gauge(
    "superedge_liteapiserver_probe_failed",
    "1 for the reason why the last probe found no ready API server, else 0",
    ["cause"],
)
TRANSITIONS = Counter("superedge_liteapiserver_transitions", "Changes of the health state", ["state"])
CACHE_ANSWERS = FastCounter(
    "superedge_liteapiserver_cache_answers", "Answers from the cache while offline", ["outcome"]
)
CACHE_FAULTS = Counter(
    "superedge_liteapiserver_cache_faults", "Bodies and streams that could not be cached", ["reason"]
)
OBJECTS = Gauge("superedge_liteapiserver_cache_objects", "Objects in the cache")
OBJECT_BYTES = Gauge(
    "superedge_liteapiserver_cache_bytes", "Bytes of the objects in the cache, and of their names"
)
VIEWS = Gauge("superedge_liteapiserver_cache_views", "Lists and watches in the cache")
EVICTIONS = Counter(
    "superedge_liteapiserver_cache_evictions",
    "Views, objects and documents evicted to keep the limits",
    ["kind"],
)
COMMIT_SECONDS = Histogram(
    "superedge_liteapiserver_commit_seconds",
    "Time to make one batch of changes durable",
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0),
)
COMMITS = Counter("superedge_liteapiserver_commits", "Batches of changes written", ["outcome"])
STORE_DEGRADED = Gauge(
    "superedge_liteapiserver_store_degraded",
    "1 while the store refuses changes, which are kept in memory only",
)
CORRUPT_ENTRIES = Counter(
    "superedge_liteapiserver_corrupt_entries", "Stored entries that were damaged and dropped"
)
IDENTITY_EXPIRY = Gauge(
    "superedge_liteapiserver_certificate_expiry_timestamp_seconds",
    "Unix time at which an identity's certificate expires",
    ["name"],
)
IDENTITY_FAULTS = Gauge(
    "superedge_liteapiserver_identity_faults", "Files of identities that cannot be used now"
)
ISSUER_KNOWN = Gauge(
    "superedge_liteapiserver_token_issuer_known", "1 while the keys that verify tokens offline are known"
)
PREFETCH_FAILING = Gauge(
    "superedge_liteapiserver_prefetch_failing", "Paths to prefetch whose last read failed"
)
