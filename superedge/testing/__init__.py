"""An embedded Kubernetes API server, a simulated kubelet and a cluster of both, for tests and demos.

It is part of the package for the tests of plugins. ``python -m superedge.testing`` runs it as a process.

It accepts bodies in JSON and YAML, and in protobuf for the kinds in `superedge.testing.protobuf`. Commands
that send other kinds in protobuf, such as ``kubectl create deployment``, get 415; ``kubectl apply -f`` and
``kubectl create -f`` send JSON. Responses are always JSON.
"""
