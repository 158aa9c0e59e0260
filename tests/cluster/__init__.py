"""Tests against a real control plane and real nodes; `make test-cluster` runs them, as root."""
