"""The Kubernetes API: requests, media types, selectors and partial decoding (all pure), and a client.

`access` configures a connection, `client` sends requests over it, `reflector` keeps a copy of a collection.
"""
