"""One call that prepares a process: the reactor's clock, name resolver and event dispatch, and the heap."""

from __future__ import annotations

from superedge.interfaces import IReactor
from superedge.reactor.clock import use_monotonic_clock
from superedge.reactor.heap import keep_freed_memory
from superedge.reactor.polling import dispatch_directly
from superedge.reactor.resolver import SharedResolver, system_resolver


def install(reactor: IReactor) -> None:
    """Prepare the process and its reactor. Call this once, before anything is scheduled on it."""
    use_monotonic_clock(reactor)
    reactor.installNameResolver(SharedResolver(reactor, system_resolver(reactor)))
    dispatch_directly(reactor)
    keep_freed_memory()
