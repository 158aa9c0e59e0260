"""Closes client connections that are idle for too long."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple
from typing import Protocol as TypingProtocol

from twisted.internet.interfaces import IReactorTime

from superedge.reactor.periodic import PeriodicCall

HEAD_TIMEOUT = 20.0
"""Seconds for a new connection's first request, and for any request's head once it has begun."""
CHECK_INTERVAL = 5.0
"""Seconds between two checks of a connection; less when the idle timeout is short, see MIN_CHECKS."""
MIN_CHECKS = 5
"""Checks within one idle timeout, at least."""


class IdleLimits(NamedTuple):
    """Consecutive idle checks after which a connection is closed."""

    head: int
    """While a request's head is due, the first one or one that has begun, and for the rest of a request that
    ends the connection."""
    idle: int
    """Otherwise: between requests, in a request's body, while response bytes wait for the client, and for the
    whole rest of a request that is answered."""


class IdleCounter:
    """Counts consecutive checks at which one connection was idle. Pure."""

    __slots__ = ("_checks", "_head_due", "_heard", "_unsent")

    def __init__(self) -> None:
        self._heard = True
        self._head_due = True
        self._checks = 0
        self._unsent = 0

    def heard(self) -> None:
        """The client sent a complete head, part of a body, or the body's end."""
        self._heard = True
        self._head_due = False

    def head_begun(self) -> None:
        """The client sent part of a head. Only the first part counts as activity."""
        if not self._head_due:
            self._head_due = self._heard = True

    def last_response_sent(self) -> None:
        """The connection ends with the rest of the request, which may take as long as a head."""
        self._head_due = self._heard = True

    def between_requests(self, limits: IdleLimits) -> bool:
        """Check a connection without a request. Returns whether it exceeds the limit."""
        return self._count(self._heard) >= (limits.head if self._head_due else limits.idle)

    def within_request(self, body_due: bool, unsent: int, limits: IdleLimits) -> bool:
        """Check a connection with a request. Returns whether it exceeds the limit.

        ``unsent`` are the response's bytes that wait for the client. A request may wait for its response. A
        client is idle when it owes a body and sends none, or when bytes wait and it reads none.
        """
        stuck = unsent > 0 and unsent == self._unsent
        self._unsent = unsent
        return self._count(not stuck and (self._heard or not body_due)) >= limits.idle

    def _count(self, active: bool) -> int:
        self._checks = 0 if active else self._checks + 1
        self._heard = False
        return self._checks


class Clients(TypingProtocol):
    """The client connections of a server."""

    def check_idle(self, limits: IdleLimits) -> None:
        """Close the connections that exceed the limits."""


def idle_client_check(reactor: IReactorTime, clients: Clients, idle: float) -> PeriodicCall:
    """A call, to be started, that closes connections after ``idle`` seconds without activity."""
    interval = min(CHECK_INTERVAL, idle / MIN_CHECKS)
    checks = ceil(idle / interval)
    limits = IdleLimits(min(ceil(HEAD_TIMEOUT / interval), checks), checks)
    return PeriodicCall(reactor, interval, lambda: clients.check_idle(limits))
