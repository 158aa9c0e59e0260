"""A round of the reactor without Twisted's log context, and with an end.

Twisted handles every event of a file descriptor in a context that tells the observers of its old log which
protocol the event is of. Nobody here asks: log lines name their module. The context costs a tenth of what a
small request through lite-apiserver does. What waits for the end of the round (`superedge.reactor.rounds`) is
called there, which saves a delayed call. Between rounds it waits as `superedge.reactor.busypoll` does.
"""

from __future__ import annotations

from select import EPOLLIN
from typing import Any, cast

from twisted.internet.epollreactor import EPollReactor
from twisted.logger import Logger

from superedge.interfaces import IReactor
from superedge.reactor.busypoll import BusyPoll
from superedge.reactor.rounds import Round

_log = Logger()


def poll_plainly(reactor: IReactor) -> None:
    """Have an epoll reactor handle its events so; any other reactor stays as it is."""
    if not isinstance(reactor, EPollReactor):
        return
    twisted = cast(Any, reactor)
    wait, selectables = BusyPoll(twisted._poller.poll).wait, twisted._selectables
    read_or_write, disconnect = twisted._doReadOrWrite, twisted._disconnectSelectable
    round = Round.of(reactor)
    round.driven = True

    def poll_and_handle(timeout: float | None) -> None:
        if round.waiting:  # for what timed calls have begun, the round ends here
            round.over()
            timeout = 0 if round.waiting or not twisted.running else twisted.timeout()
        events = wait(timeout, len(selectables))
        round.alone = len(events) == 1
        for fd, event in events:
            selectable = selectables.get(fd)
            if selectable is None:
                continue  # an event before this one took it out
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
        round.alone = False
        if round.waiting:
            round.over()

    twisted.doIteration = poll_and_handle
