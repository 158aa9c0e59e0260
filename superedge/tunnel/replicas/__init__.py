"""Several cloud ends that act as one: who holds which node, and the way from one to another.

`records`, `routes` are pure; `publisher` writes, `registry` follows, `links` forwards, `router` decides.
Composed by superedge.tap when ``tunnel_cloud.registry`` is ``kubernetes``.
"""
