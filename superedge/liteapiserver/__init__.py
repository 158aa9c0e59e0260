"""lite-apiserver: the node's API server, a proxy to the cloud with a cache of what its clients read.

`service` is what superedge.tap composes, `frontend` decides who answers a request; the folders are below
them.
"""
