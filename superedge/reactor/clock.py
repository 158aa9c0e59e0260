"""A reactor clock that only moves forward."""

from __future__ import annotations

import time
from typing import Any, cast

from superedge.interfaces import IReactor


def use_monotonic_clock(reactor: IReactor) -> None:
    """Make ``reactor.seconds`` the monotonic clock.

    Twisted's reactors use the wall clock. A node without a battery-backed clock sets its time at its first
    contact with a time server; if that sets it back by an hour, every timer would stop for an hour.
    """
    cast(Any, reactor).seconds = time.monotonic
