"""Replicas: several cloud ends that act as one.

`records` and `routes` are pure. `publisher` writes this replica's nodes to Kubernetes, `registry` follows the
other replicas' nodes, `links` forwards streams, and `router` chooses the replica.
"""
