"""An embedded Kubernetes API server, a kubelet stand-in and a cluster of both, for tests and demos.

Shipped for the tests of operators' own plugins; run as a process by ``python -m superedge.testing``.
"""
