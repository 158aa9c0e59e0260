"""An epoll reactor iteration that dispatches events directly.

Twisted handles each event of a file descriptor in a log context that names the event's protocol for legacy
log observers. SuperEdge's log lines name their module instead, and the context costs a tenth of a small
request through lite-apiserver. This iteration leaves the context out, calls the observers of its end
(`superedge.reactor.iterations`) without a delayed call, and busy-polls between iterations
(`superedge.reactor.busypoll`).
"""

from __future__ import annotations

from select import EPOLLIN
from typing import Any, cast

from twisted.internet.epollreactor import EPollReactor
from twisted.logger import Logger

from superedge.interfaces import IReactor
from superedge.reactor.busypoll import BusyPoll
from superedge.reactor.iterations import ReactorIteration

_log = Logger()


def dispatch_directly(reactor: IReactor) -> None:
    """Replace an epoll reactor's iteration. Any other reactor stays unchanged."""
    if not isinstance(reactor, EPollReactor):
        return
    twisted = cast(Any, reactor)
    wait, selectables = BusyPoll(twisted._poller.poll).wait, twisted._selectables
    read_or_write, disconnect = twisted._doReadOrWrite, twisted._disconnectSelectable
    iteration = ReactorIteration.of(reactor)
    iteration.reactor_calls_end = True

    def poll_and_handle(timeout: float | None) -> None:
        if iteration.observers:  # delayed calls added them, and their iteration ends here
            iteration.end()
            timeout = 0 if iteration.observers or not twisted.running else twisted.timeout()
        events = wait(timeout, len(selectables))
        iteration.single_event = len(events) == 1
        for fd, event in events:
            selectable = selectables.get(fd)
            if selectable is None:
                continue  # the handler of an earlier event removed it
            try:
                if event != EPOLLIN:
                    read_or_write(selectable, fd, event)
                    continue
                try:
                    outcome = selectable.doRead()
                except Exception as problem:
                    _log.failure("failed to read")
                    outcome = problem
                if outcome:
                    disconnect(selectable, outcome, True)
            except Exception:
                _log.failure("failed to handle an event")
        iteration.single_event = False
        if iteration.observers:
            iteration.end()

    twisted.doIteration = poll_and_handle
