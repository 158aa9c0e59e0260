"""Prometheus metrics of certificates."""

from __future__ import annotations

from prometheus_client import Gauge

CERTIFICATE_EXPIRY = Gauge(
    "superedge_tls_certificate_expiry_timestamp_seconds",
    "Expiry time of the certificate in use from a file, Unix time",
    ["path"],
)
