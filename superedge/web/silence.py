"""Ends the connections of HTTP clients on which nothing happens."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple
from typing import Protocol as TypingProtocol

from twisted.internet.interfaces import IReactorTime

from superedge.reactor.periodic import PeriodicCall

HEAD_TIME = 20.0
"""Seconds for a new connection's first request, and for any request's head once it has begun."""
LOOK = 5.0
"""Seconds between two looks; fewer where connections may be idle for a short time alone."""
LOOKS = 5
"""How often at least they are looked at in that time."""


class Patience(NamedTuple):
    """How many looks a connection may be silent in a row."""

    head: int
    """While the head of a request is to come: the first one, or one that has begun."""
    idle: int
    """In any other case: between requests, in a request's body, and while bytes of an answer wait."""


class Silence:
    """Counts the looks at which one connection was silent. Pure."""

    __slots__ = ("_head_due", "_heard", "_looks", "_unsent")

    def __init__(self) -> None:
        self._heard = True
        self._head_due = True
        self._looks = 0
        self._unsent = 0

    def broken(self) -> None:
        """The client sent something that can be used: a head, or some of a body, or its end."""
        self._heard = True
        self._head_due = False

    def head_begun(self) -> None:
        """It sent something that is no whole head yet; further bytes of the same head change nothing."""
        if not self._head_due:
            self._head_due = self._heard = True

    def between_requests(self, patience: Patience) -> bool:
        """Look; whether it lasts too long."""
        return self._look(self._heard) >= (patience.head if self._head_due else patience.idle)

    def within_request(self, body_due: bool, unsent: int, patience: Patience) -> bool:
        """Look; whether it lasts too long. ``unsent`` bytes of the answer wait for the client.

        A request may wait for its answer. A client is silent when it is to send a body and does not, or has
        bytes to take and takes none.
        """
        stuck = unsent > 0 and unsent == self._unsent
        self._unsent = unsent
        return self._look(not stuck and (self._heard or not body_due)) >= patience.idle

    def _look(self, moved: bool) -> int:
        self._looks = 0 if moved else self._looks + 1
        self._heard = False
        return self._looks


class Clients(TypingProtocol):
    """The connections of a server."""

    def look(self, patience: Patience) -> None:
        """End those that are silent for longer."""


def watch_clients(reactor: IReactorTime, clients: Clients, idle: float) -> PeriodicCall:
    """What looks at a server's connections, to be started: one may be idle for ``idle`` seconds."""
    interval = min(LOOK, idle / LOOKS)
    looks = ceil(idle / interval)
    patience = Patience(min(ceil(HEAD_TIME / interval), looks), looks)
    return PeriodicCall(reactor, interval, lambda: clients.look(patience))
