"""The order in which equivalent servers are tried. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from superedge.config.addresses import TCPAddress


class Servers:
    """Equivalent servers in the order to try them.

    With ``round_robin`` each order begins at the next server, otherwise always at the first. A server that
    failed is tried last for ``penalty`` seconds.
    """

    def __init__(self, addresses: Sequence[TCPAddress], round_robin: bool, penalty: float = 10.0) -> None:
        self._addresses = list(addresses)
        self._round_robin = round_robin
        self._penalty = penalty
        self._next = 0
        self._failed_until: dict[TCPAddress, float] = {}

    def order(self, now: float) -> list[TCPAddress]:
        """The addresses in the order to try them."""
        first = 0
        if self._round_robin:
            first = self._next
            self._next = (first + 1) % len(self._addresses)
        rotated = self._addresses[first:] + self._addresses[:first]
        return sorted(rotated, key=lambda address: self._failed_until.get(address, 0.0) > now)

    def failed(self, address: TCPAddress, now: float) -> None:
        """Try the server last from now on, for ``penalty`` seconds."""
        self._failed_until[address] = now + self._penalty

    def connected(self, address: TCPAddress) -> None:
        """The server works: end its penalty."""
        self._failed_until.pop(address, None)
