"""What every component knows of the Kubernetes API: requests, media types, selectors, partial decoding.

Pure: bytes and values in, values out. Called by superedge.liteapiserver and superedge.testing.
"""
