"""Ends streams on which nothing moves for a time."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from superedge.mux.stream import MuxStream
from superedge.reactor.periodic import PeriodicCall

CHECKS = 4
"""How often in an idle time streams are looked at."""


class IdleWatch:
    """Looks at a listener's streams; one on which no byte moved for ``timeout`` seconds is reset.

    ``ended`` is told of each.
    """

    def __init__(self, reactor: IReactorTime, timeout: float, ended: Callable[[], None]) -> None:
        self._ended = ended
        self._seen: dict[MuxStream, tuple[int, int]] = {}
        self._periodic = PeriodicCall(reactor, timeout / CHECKS, self._check)

    def start(self) -> None:
        """Begin to look."""
        self._periodic.start()

    def stop(self) -> None:
        """Look no more."""
        self._periodic.stop()

    def add(self, stream: MuxStream) -> None:
        """Watch a stream until it is forgotten."""
        self._seen[stream] = stream.transferred, 0

    def forget(self, stream: MuxStream) -> None:
        """The stream has ended."""
        self._seen.pop(stream, None)

    def _check(self) -> None:
        for stream, (transferred, checks) in list(self._seen.items()):
            if stream.closed:
                self.forget(stream)
            elif stream.transferred != transferred:
                self._seen[stream] = stream.transferred, 0
            elif checks + 1 < CHECKS:
                self._seen[stream] = transferred, checks + 1
            else:
                self.forget(stream)
                stream.abortConnection()
                self._ended()
