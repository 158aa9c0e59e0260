"""A real Kubernetes control plane and real nodes on this machine, for the tests in tests/cluster.

`python -m tests.controlplane` starts and stops them by hand; tests use `cluster.Cluster` and `worker.Worker`.
"""
