"""Sockets: addresses, TCP and TLS transports and endpoints, backoff, splicing.

Knows nothing of the components that use it.
"""
