"""Failover: connect to the first of several servers that works."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime

from superedge.config.addresses import TCPAddress
from superedge.net.errors import ConnectError
from superedge.net.racing import first_of
from superedge.net.servers import Servers

T = TypeVar("T")


def connect_to_any(
    reactor: IReactorTime,
    servers: Servers,
    connect: Callable[[TCPAddress], Deferred[T]],
    share: float,
    failed: Callable[[TCPAddress, ConnectError], None] = lambda _address, _problem: None,
) -> Deferred[T]:
    """The result of ``connect`` for the first server that works. Cancellable; fails with ConnectError.

    When a server has not answered for ``share`` seconds, the next is tried concurrently. A server that was
    slower than the next, or that had not answered when the caller cancelled, counts as failed and is tried
    last the next time.

    Args:
        reactor: time.
        servers: gives the order, and records the results.
        connect: starts an attempt that ends by itself; fails with ConnectError.
        share: seconds.
        failed: called with each server that could not be reached, and the reason.
    """

    begun: list[TCPAddress] = []

    async def attempt(address: TCPAddress) -> T:
        began = reactor.seconds()
        begun.append(address)
        try:
            result = await connect(address)
        except ConnectError as problem:
            servers.failed(address, reactor.seconds())
            failed(address, problem)
            raise
        except CancelledError:
            waited = reactor.seconds() - began
            # The attempt that started last had the least time, and may be the one that works.
            if waited >= share and address != begun[-1]:
                servers.failed(address, reactor.seconds())
                failed(address, ConnectError(f"{address} did not answer within {waited:.1f} s"))
            raise
        servers.connected(address)
        return result

    order = servers.order(reactor.seconds())
    if not order:
        raise ConnectError("no server is configured")

    def begin(address: TCPAddress) -> Deferred[T]:
        return Deferred.fromCoroutine(attempt(address))

    return first_of(reactor, [partial(begin, address) for address in order], share)
