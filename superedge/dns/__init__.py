"""DNS: the tunnel's names, which lead to the cloud end that holds a node; everything else is forwarded.

`zone` and `messages` are pure, `forward` asks others, `server` listens. Composed by superedge.tap.
"""
