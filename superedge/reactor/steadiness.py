"""A reactor that neither a clock that is set nor a name server that is silent brings out of step.

`steady` is called once, before anything is scheduled, by who starts the process.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, cast

from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
)
from zope.interface import implementer

from superedge.interfaces import IReactor

PATIENCE = 1.0
"""Seconds a name server has before the addresses are used that it gave last."""
MAX_KNOWN = 256
"""Names whose last addresses are kept; the oldest give way."""

_Key = tuple[str, int, tuple[type[IAddress], ...] | None, str]


def steady(reactor: IReactor) -> None:
    """Time that only goes forward, and names asked for once at a time.

    Twisted's reactors count in the wall clock's time: set back by an hour, as a node without a battery is
    at its first contact, it would stop every timer for that hour.
    """
    cast(Any, reactor).seconds = time.monotonic
    reactor.installNameResolver(SharedResolver(reactor, reactor.nameResolver))


@implementer(IHostResolution)
class _Question:
    """A name that is being asked for, and everybody who waits for it."""

    def __init__(self, reactor: IReactor, name: str, known: Sequence[IAddress]) -> None:
        self.name = name
        self._known = known
        self._found: list[IAddress] = []
        self._waiting: list[IResolutionReceiver] = []
        self._overdue = False
        self.done = False
        self._call: IDelayedCall | None = reactor.callLater(PATIENCE, self._late) if known else None

    def add(self, receiver: IResolutionReceiver) -> None:
        """One more who asks."""
        receiver.resolutionBegan(self)
        if self._overdue:
            _give(receiver, self._known)
        else:
            self._waiting.append(receiver)

    def cancel(self) -> None:
        """The question stays, for others."""

    def _late(self) -> None:
        self._call = None
        self._overdue = True
        self._answer(self._known)

    def _answer(self, addresses: Sequence[IAddress]) -> None:
        waiting, self._waiting = self._waiting, []
        for receiver in waiting:
            _give(receiver, addresses)

    def finish(self) -> Sequence[IAddress]:
        """Answer everybody; what was found."""
        self.done = True
        if self._call is not None:
            self._call.cancel()
            self._call = None
        self._answer(self._found or self._known)
        return self._found

    def found(self, address: IAddress) -> None:
        """One more address."""
        self._found.append(address)


def _give(receiver: IResolutionReceiver, addresses: Sequence[IAddress]) -> None:
    for address in addresses:
        receiver.addressResolved(address)
    receiver.resolutionComplete()


@implementer(IResolutionReceiver)
class _Receiver:
    """Takes what the resolver beneath finds."""

    def __init__(self, owner: SharedResolver, key: _Key, question: _Question) -> None:
        self._owner = owner
        self._key = key
        self._question = question

    def resolutionBegan(self, resolution: IHostResolution) -> None:
        """The resolver has started."""

    def addressResolved(self, address: IAddress) -> None:
        """One address."""
        self._question.found(address)

    def resolutionComplete(self) -> None:
        """No more will come."""
        self._owner.finished(self._key, self._question)


@implementer(IHostnameResolver)
class SharedResolver:
    """Asks ``beneath`` for a name once at a time, whoever wants it, and keeps the last addresses.

    The system's resolver holds a thread for each question, for half a minute when no name server answers:
    many questions at once would leave none for anything else.
    """

    def __init__(self, reactor: IReactor, beneath: IHostnameResolver) -> None:
        self._reactor = reactor
        self._beneath = beneath
        self._questions: dict[_Key, _Question] = {}
        self._known: dict[_Key, Sequence[IAddress]] = {}

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Called by Twisted and by `superedge.net.resolve`."""
        types = tuple(addressTypes) if addressTypes is not None else None
        key = (hostName, portNumber, types, transportSemantics)
        question = self._questions.get(key)
        if question is None:
            question = self._questions[key] = _Question(self._reactor, hostName, self._known.get(key, ()))
            question.add(resolutionReceiver)
            receiver = _Receiver(self, key, question)
            self._beneath.resolveHostName(receiver, hostName, portNumber, addressTypes, transportSemantics)
        else:
            question.add(resolutionReceiver)
        return question

    def finished(self, key: _Key, question: _Question) -> None:
        """The resolver beneath has said what it knows."""
        del self._questions[key]
        found = question.finish()
        if found:
            self._known.pop(key, None)
            if len(self._known) >= MAX_KNOWN:
                del self._known[next(iter(self._known))]
            self._known[key] = found
