"""Faults of links, processes and peers, on real processes; `make test-cluster` runs them."""
