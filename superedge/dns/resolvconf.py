"""The nameservers of a file in the format of resolv.conf(5). Pure."""

from __future__ import annotations

from ipaddress import ip_address

from superedge.config.addresses import TCPAddress


def parse_nameservers(text: str) -> list[TCPAddress]:
    """In the file's order; lines that are none are passed over, as are addresses of one interface alone."""
    found: list[TCPAddress] = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or words[0] != "nameserver" or "%" in words[1]:
            continue
        try:
            address = TCPAddress(str(ip_address(words[1])), 53)
        except ValueError:
            continue
        if address not in found:
            found.append(address)
    return found
