"""Idle timeouts of streams."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from superedge.mux.stream import MuxStream
from superedge.reactor.periodic import PeriodicCall

CHECKS = 4
"""Checks of each stream in one idle timeout."""


class IdleWatch:
    """Resets a listener's streams on which no byte moved for ``timeout`` seconds; calls ``ended`` for
    each."""

    def __init__(self, reactor: IReactorTime, timeout: float, ended: Callable[[], None]) -> None:
        self._ended = ended
        self._seen: dict[MuxStream, tuple[int, int]] = {}
        self._periodic = PeriodicCall(reactor, timeout / CHECKS, self._check)

    def start(self) -> None:
        self._periodic.start()

    def stop(self) -> None:
        self._periodic.stop()

    def add(self, stream: MuxStream) -> None:
        """Check the stream until `forget` is called."""
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
