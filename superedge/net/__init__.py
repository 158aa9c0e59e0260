"""Sockets: addresses, endpoints, TCP and TLS transports, splicing and bandwidth limits."""
