"""Operations: Prometheus metrics, health endpoints and logging set-up.

Composed by superedge.tap next to the components.
"""
