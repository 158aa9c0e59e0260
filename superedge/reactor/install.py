"""One call that gives a reactor SuperEdge's clock, name resolver and event dispatch."""

from __future__ import annotations

from superedge.interfaces import IReactor
from superedge.reactor.clock import use_monotonic_clock
from superedge.reactor.polling import dispatch_directly
from superedge.reactor.resolver import SharedResolver, system_resolver


def install(reactor: IReactor) -> None:
    """Prepare the process's reactor. Call this once, before anything is scheduled on it."""
    use_monotonic_clock(reactor)
    reactor.installNameResolver(SharedResolver(reactor, system_resolver(reactor)))
    dispatch_directly(reactor)
