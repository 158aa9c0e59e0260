"""Enforcement: how the node lifecycle controller is kept from nodes that are kept.

`proof.py` finds out whether it works; with `webhook` the process answers the API server itself: `reviews.py`
(pure), `webhook.py`, `serving.py`. With `policy` the API server does alone what
deploy/kubernetes/health-policy.yaml says.
"""
