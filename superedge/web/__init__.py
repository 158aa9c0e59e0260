"""The HTTP/1.1 data path: httptools parsers on Twisted protocols, for bodies that stream both ways.

`h1` is pure; `server` and `client` are the protocols around it. Called by superedge.liteapiserver.
"""
