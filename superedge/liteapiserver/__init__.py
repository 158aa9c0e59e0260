"""lite-apiserver: the node's API server, proxy to the cloud and memory of what its clients read.

`service` is what superedge.tap composes; `proxy` is the online path, `cache` the memory, `stores` the disk.
"""
