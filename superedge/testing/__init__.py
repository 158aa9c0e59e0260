"""An embedded Kubernetes API server, a kubelet stand-in and a cluster of both, for tests and demos.

Shipped for the tests of operators' own plugins; run as a process by ``python -m superedge.testing``.

Bodies are JSON or YAML, and protobuf for the simple kinds in `superedge.testing.protobuf`; for others
(``kubectl create deployment``, say) kubectl's typed client gets 415 and does not try JSON. Use
``kubectl apply -f`` or ``kubectl create -f``, which send JSON. Answers are always JSON.
"""
