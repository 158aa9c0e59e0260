"""A name resolver that asks once for concurrent lookups and survives an outage of the name server."""

from __future__ import annotations

from collections.abc import Sequence
from socket import EAI_AGAIN, gaierror, getaddrinfo
from typing import Any, cast

from twisted.internet._resolver import GAIResolver
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
)
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from superedge.interfaces import IReactor

STALE_AFTER = 1.0
"""Seconds that a name server has to answer before the addresses of its last answer are used."""
GIVE_UP_AFTER = 120.0
"""Seconds after which a lookup without a result counts as ended, so that the name can be looked up again."""
THREADS = 10
"""Names that are looked up at the same time."""
MAX_CACHED = 256
"""Names whose last addresses are kept. The name that was answered longest ago is dropped first."""

_Key = tuple[str, int, tuple[type[IAddress], ...] | None, str]


def system_resolver(reactor: IReactor) -> IHostnameResolver:
    """Twisted's resolver, which uses the system's, for `SharedResolver`.

    It has threads of its own: names that no name server answers for must not keep a cache from its disk.
    Twisted's own ends no lookup for which getaddrinfo(3) reports a system error, such as too many open files.
    """
    pool = ThreadPool(0, THREADS, "names")
    reactor.callWhenRunning(pool.start)
    reactor.addSystemEventTrigger("during", "shutdown", pool.stop)
    return GAIResolver(reactor, lambda: pool, cast(Any, _getaddrinfo))


def _getaddrinfo(*arguments: Any) -> list[Any]:
    """As `socket.getaddrinfo`, but every OSError is a gaierror."""
    try:
        return getaddrinfo(*arguments)
    except gaierror:
        raise
    except OSError as problem:
        raise gaierror(EAI_AGAIN, str(problem)) from problem


@implementer(IHostResolution)
class _Lookup:
    """A lookup in progress, and the receivers that wait for its result."""

    def __init__(self, reactor: IReactor, name: str, last: Sequence[IAddress]) -> None:
        self.name = name
        self._last = last
        self._found: list[IAddress] = []
        self._receivers: list[IResolutionReceiver] = []
        self._overdue = False
        self.done = False
        self._timer: IDelayedCall | None = reactor.callLater(STALE_AFTER, self._use_last) if last else None
        self.deadline: IDelayedCall | None = None

    def add(self, receiver: IResolutionReceiver) -> None:
        """Deliver the result to one more receiver."""
        receiver.resolutionBegan(self)
        if self._overdue:
            _deliver(receiver, self._last)
        else:
            self._receivers.append(receiver)

    def cancel(self) -> None:
        """Do nothing: other receivers may wait for the same lookup."""

    def _use_last(self) -> None:
        self._overdue = True
        self._answer(self._last)

    def _answer(self, addresses: Sequence[IAddress]) -> None:
        receivers, self._receivers = self._receivers, []
        for receiver in receivers:
            _deliver(receiver, addresses)

    def finish(self) -> Sequence[IAddress]:
        """Deliver the result to every receiver. Return the addresses found."""
        self.done = True
        for call in (self._timer, self.deadline):
            if call is not None and call.active():
                call.cancel()
        self._answer(self._found or self._last)
        return self._found

    def found(self, address: IAddress) -> None:
        self._found.append(address)


def _deliver(receiver: IResolutionReceiver, addresses: Sequence[IAddress]) -> None:
    for address in addresses:
        receiver.addressResolved(address)
    receiver.resolutionComplete()


@implementer(IResolutionReceiver)
class _Receiver:
    """Collects the addresses that the inner resolver finds."""

    def __init__(self, owner: SharedResolver, key: _Key, lookup: _Lookup) -> None:
        self._owner = owner
        self._key = key
        self._lookup = lookup

    def resolutionBegan(self, resolution: IHostResolution) -> None:
        """The resolver has started."""

    def addressResolved(self, address: IAddress) -> None:
        self._lookup.found(address)

    def resolutionComplete(self) -> None:
        """The inner resolver has found every address."""
        self._owner.finished(self._key, self._lookup)


@implementer(IHostnameResolver)
class SharedResolver:
    """Joins concurrent lookups of a name into one lookup of ``inner``, and keeps each name's last addresses.

    The system's resolver occupies a thread for each lookup, for half a minute when no name server answers.
    Many lookups at once would take every thread of the pool.
    """

    def __init__(self, reactor: IReactor, inner: IHostnameResolver) -> None:
        self._reactor = reactor
        self._inner = inner
        self._lookups: dict[_Key, _Lookup] = {}
        self._last: dict[_Key, Sequence[IAddress]] = {}

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Implements IHostnameResolver; Twisted and `superedge.net.resolve` call it."""
        types = tuple(addressTypes) if addressTypes is not None else None
        key = (hostName, portNumber, types, transportSemantics)
        lookup = self._lookups.get(key)
        if lookup is None:
            lookup = self._lookups[key] = _Lookup(self._reactor, hostName, self._last.get(key, ()))
            lookup.add(resolutionReceiver)
            lookup.deadline = self._reactor.callLater(GIVE_UP_AFTER, self.finished, key, lookup)
            receiver = _Receiver(self, key, lookup)
            self._inner.resolveHostName(receiver, hostName, portNumber, addressTypes, transportSemantics)
        else:
            lookup.add(resolutionReceiver)
        return lookup

    def finished(self, key: _Key, lookup: _Lookup) -> None:
        """The inner resolver has ended a lookup, or has had GIVE_UP_AFTER seconds for it."""
        if lookup.done:
            return
        del self._lookups[key]
        found = lookup.finish()
        if found:
            self._last.pop(key, None)
            if len(self._last) >= MAX_CACHED:
                del self._last[next(iter(self._last))]
            self._last[key] = found
