"""Prometheus metrics of certificates."""

from __future__ import annotations

from prometheus_client import Gauge

CERTIFICATE_EXPIRY = Gauge(
    "superedge_tls_certificate_expiry_timestamp_seconds",
    "When the certificate in use of a file that is shown to others ends, Unix time",
    ["path"],
)
