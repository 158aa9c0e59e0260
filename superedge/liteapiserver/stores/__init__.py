"""The cache stores that come with SuperEdge. Each is an `ICacheStore`; twisted/plugins registers them.

superedge.testing.contracts.cachestore is the test suite that every store must pass.
"""
