"""Slots for pending dials, shared so that no target and no caller can take all of them. Pure."""

from __future__ import annotations

from superedge.tunnel.errors import DialError


class DialSlots:
    """At most ``limit`` pending dials.

    A target may hold as many slots as are free, and a caller three times as many (dynamic thresholds:
    Choudhury and Hahne, 1998). So one dead target holds half of the slots, two dead targets hold a third
    each, and one caller holds three quarters, whatever it dials. Slots remain for the next target and the
    next caller.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._targets: dict[str, int] = {}
        self._callers: dict[str, int] = {}

    def __len__(self) -> int:
        return self._taken

    def acquire(self, target: str, caller: str) -> None:
        """Start a dial. ``caller`` is empty if unknown. Raises DialError without a free slot."""
        free = self._limit - self._taken
        if free <= 0:
            raise DialError("limit", f"{self._taken} dials are pending on this node")
        if self._targets.get(target, 0) >= free:
            raise DialError("limit", f"{self._targets[target]} dials of {target[:200]} are pending already")
        if caller and self._callers.get(caller, 0) >= 3 * free:
            raise DialError("limit", f"{self._callers[caller]} dials of {caller[:200]} are pending already")
        self._taken += 1
        self._targets[target] = self._targets.get(target, 0) + 1
        if caller:
            self._callers[caller] = self._callers.get(caller, 0) + 1

    def release(self, target: str, caller: str) -> None:
        """The dial has ended."""
        self._taken -= 1
        _decrement(self._targets, target)
        if caller:
            _decrement(self._callers, caller)


def _decrement(counts: dict[str, int], key: str) -> None:
    if counts[key] == 1:
        del counts[key]
    else:
        counts[key] -= 1
