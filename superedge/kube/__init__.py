"""The Kubernetes API: requests, media types, selectors and partial decoding (pure), and a client.

`access` finds a server, `client` asks it, `reflector` follows a collection. Called by every component.
"""
