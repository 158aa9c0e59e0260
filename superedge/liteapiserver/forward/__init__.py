"""Forwarding of one request: its head, the exchange with the cloud, response filters, held watches.

`frontend.py` starts an exchange for each request that goes to the cloud.
"""
