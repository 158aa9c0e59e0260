"""Operations: Prometheus metrics, health endpoints and the log."""
