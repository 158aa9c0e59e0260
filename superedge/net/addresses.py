"""Addresses."""

from superedge.config.addresses import Address, TCPAddress, UnixAddress, parse_address

__all__ = ["Address", "TCPAddress", "UnixAddress", "parse_address"]
