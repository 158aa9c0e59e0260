"""Several servers that do the same: which to try first. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from superedge.config.addresses import TCPAddress


class Servers:
    """The servers and in which order to try them.

    ``round_robin`` begins each time at the next server; otherwise the first that works is used.
    A server that failed is tried last for ``penalty`` seconds.
    """

    def __init__(self, addresses: Sequence[TCPAddress], round_robin: bool, penalty: float = 10.0) -> None:
        self._addresses = list(addresses)
        self._round_robin = round_robin
        self._penalty = penalty
        self._turn = 0
        self._failed_until: dict[TCPAddress, float] = {}

    def order(self, now: float) -> list[TCPAddress]:
        """The addresses to try, this time."""
        turn = 0
        if self._round_robin:
            turn = self._turn
            self._turn = (turn + 1) % len(self._addresses)
        rotated = self._addresses[turn:] + self._addresses[:turn]
        return sorted(rotated, key=lambda address: self._failed_until.get(address, 0.0) > now)

    def failed(self, address: TCPAddress, now: float) -> None:
        """Try it last for a while."""
        self._failed_until[address] = now + self._penalty

    def connected(self, address: TCPAddress) -> None:
        """It works."""
        self._failed_until.pop(address, None)
