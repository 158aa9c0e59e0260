"""``python -m bench.tunnel``: the tunnel beside two nginx stream hops, and beside peers found on PATH."""
