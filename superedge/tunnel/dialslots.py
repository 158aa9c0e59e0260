"""Places for dials under way: nobody takes so many that none is left for others. Pure."""

from __future__ import annotations

from superedge.tunnel.errors import DialError


class DialSlots:
    """At most ``limit`` dials at once: a target has at most as many as are free, a caller three times that.

    So the dials of one dead target hold half of the places, those of two a third each; one caller holds three
    quarters, whatever it dials. There is room for the next target and for the next caller (dynamic
    thresholds: Choudhury and Hahne, 1998).
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._targets: dict[str, int] = {}
        self._callers: dict[str, int] = {}

    def __len__(self) -> int:
        return self._taken

    def acquire(self, target: str, caller: str) -> None:
        """A dial begins. ``caller`` is empty when nobody said who asks. Raises DialError."""
        free = self._limit - self._taken
        if free <= 0:
            raise DialError("limit", f"{self._taken} dials are under way on this node")
        if self._targets.get(target, 0) >= free:
            raise DialError("limit", f"{self._targets[target]} dials of {target[:200]} are under way already")
        if caller and self._callers.get(caller, 0) >= 3 * free:
            raise DialError("limit", f"{self._callers[caller]} dials of {caller[:200]} are under way already")
        self._taken += 1
        self._targets[target] = self._targets.get(target, 0) + 1
        if caller:
            self._callers[caller] = self._callers.get(caller, 0) + 1

    def release(self, target: str, caller: str) -> None:
        """A dial that `acquire` let begin has ended."""
        self._taken -= 1
        _decrement(self._targets, target)
        if caller:
            _decrement(self._callers, caller)


def _decrement(counts: dict[str, int], key: str) -> None:
    if counts[key] == 1:
        del counts[key]
    else:
        counts[key] -= 1
