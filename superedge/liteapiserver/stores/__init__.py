"""Cache stores that come with SuperEdge, each an `ICacheStore`; twisted/plugins names them.

superedge.testing.contracts.cachestore is the suite that every store passes.
"""
