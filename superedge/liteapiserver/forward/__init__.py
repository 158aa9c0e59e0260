"""One request on its way: what its head says, the exchange with the cloud, filters, held watches.

`frontend.py` calls it for each request that is not answered from the cache at once.
"""
