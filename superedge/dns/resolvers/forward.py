"""Everything else, asked of the upstream servers of the longest zone that a name is in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from zope.interface import implementer

from superedge.config.addresses import TCPAddress, parse_address
from superedge.config.localdns import ForwardConfig
from superedge.dns import metrics
from superedge.dns.forward import Forwarder
from superedge.dns.ports import ForwardError
from superedge.dns.received import received
from superedge.dns.wire import MAX_UDP, OPT, SERVFAIL, ancestors, wire_name
from superedge.interfaces import Answer, IReactor, IResolver, Question

NAME = "forward"
MAX_PENDING = 4000
"""Questions under way; more are SERVFAIL at once."""
_RECURSION_DESIRED, _PASSED = 0x0100, 0x0030


class Zone(NamedTuple):
    """Names below ``names`` and who is asked."""

    names: Sequence[bytes]
    forwarder: Forwarder


@implementer(IResolver)
class ForwardResolver:
    """Asks servers; a name in none of the zones is the next link's."""

    def __init__(self, reactor: IReactor, config: Sequence[ForwardConfig], following: IResolver) -> None:
        self.zones = [
            Zone(
                [wire_name(zone) for zone in each.zones],
                Forwarder(
                    reactor,
                    [cast(TCPAddress, parse_address(text, 53)) for text in each.upstreams],
                    each.timeout,
                    each.policy,
                ),
            )
            for each in config
        ]
        self._by_zone = {name: zone.forwarder for zone in self.zones for name in zone.names}
        self._following = following
        self._pending = 0

    def stop(self) -> None:
        """Give up what is under way."""
        for zone in self.zones:
            zone.forwarder.stop()

    async def resolve(self, question: Question) -> Answer:
        """What an upstream server says. Raises ForwardError when none says anything."""
        forwarder = self._forwarder(question.name)
        if forwarder is None:
            return await self._following.resolve(question)
        if self._pending >= MAX_PENDING:
            metrics.FORWARD_OVERLOAD.inc()
            return Answer(SERVFAIL, source=NAME)
        self._pending += 1
        try:
            data = await forwarder.ask(_asked(question))
        finally:
            self._pending -= 1
        try:
            return received(data, question, NAME)
        except ValueError as problem:
            raise ForwardError(f"an upstream server's answer cannot be read: {problem}") from problem

    def _forwarder(self, name: bytes) -> Forwarder | None:
        for zone in ancestors(name):
            found = self._by_zone.get(zone)
            if found is not None:
                return found
        return None


def _asked(question: Question) -> bytes:
    """The question behind its id, the same for everybody who asks it, so that one answer serves all."""
    flags = _RECURSION_DESIRED | question.flags & _PASSED
    opt = b"\0" + OPT.to_bytes(2, "big") + MAX_UDP.to_bytes(2, "big")
    opt += (b"\0\0\x80\0" if question.dnssec_ok else bytes(4)) + bytes(2)
    head = flags.to_bytes(2, "big") + b"\0\1\0\0\0\0\0\1"
    return head + question.name + question.section[-4:] + opt
