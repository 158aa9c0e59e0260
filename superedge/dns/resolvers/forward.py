"""Everything else, asked of the upstream servers of the longest zone that a name is in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

from twisted.logger import Logger
from zope.interface import implementer

from superedge.config.addresses import TCPAddress, parse_address
from superedge.config.localdns import ForwardConfig
from superedge.dns import metrics
from superedge.dns.forward import Forwarder
from superedge.dns.ports import ForwardError
from superedge.dns.received import received
from superedge.dns.resolvconf import parse_nameservers
from superedge.dns.wire import (
    AUTHENTIC,
    BADVERS,
    CHECKING_DISABLED,
    FORMERR,
    MAX_UDP,
    NOTIMP,
    OPT,
    RECURSION_DESIRED,
    SERVFAIL,
    ancestors,
    wire_name,
)
from superedge.interfaces import Answer, IReactor, IResolver, Question

NAME = "forward"
MAX_PENDING = 4000
"""Questions under way to the servers of one table; more are SERVFAIL at once."""
_OPT = b"\0" + OPT.to_bytes(2, "big") + MAX_UDP.to_bytes(2, "big")
_NO_EDNS = frozenset({FORMERR, NOTIMP, BADVERS})
"""What a server may say that does not know EDNS, or this version (RFC 6891 sections 6.1.3 and 7)."""
_log = Logger()


class Zone(NamedTuple):
    """Names below ``names``; who is asked are ``upstreams`` and the nameservers of a file."""

    names: Sequence[bytes]
    forwarder: Forwarder
    upstreams: Sequence[TCPAddress]
    resolv_conf: Path | None


@implementer(IResolver)
class ForwardResolver:
    """Asks servers; a name in none of the zones is the next link's."""

    def __init__(
        self,
        reactor: IReactor,
        config: Sequence[ForwardConfig],
        own: Sequence[TCPAddress],
        following: IResolver,
    ) -> None:
        """``own`` are this server's addresses, which it does not ask."""
        self._own = own
        self.zones = [
            Zone(
                [wire_name(zone) for zone in each.zones],
                Forwarder(reactor, [], each.timeout, each.policy),
                [cast(TCPAddress, parse_address(text, 53)) for text in each.upstreams],
                each.resolv_conf,
            )
            for each in config
        ]
        self.reload()
        self._by_zone = {name: zone.forwarder for zone in self.zones for name in zone.names}
        self._following = following
        self._pending = dict.fromkeys(self._by_zone.values(), 0)

    def reload(self) -> None:
        """Read the files with nameservers; while one cannot be read, what it had counts."""
        for zone in self.zones:
            found = list(zone.upstreams)
            if zone.resolv_conf is not None:
                try:
                    text = zone.resolv_conf.read_text(errors="replace")
                except OSError as problem:
                    _log.error(
                        "{path} cannot be read: {problem}", path=zone.resolv_conf, problem=problem.strerror
                    )
                    if zone.forwarder.health():
                        continue
                    text = ""
                for server in parse_nameservers(text):
                    if any(address.takes(server) for address in self._own):
                        _log.warn(
                            "{path}: {server} is this server", path=zone.resolv_conf, server=str(server)
                        )
                    elif server not in found:
                        found.append(server)
            zone.forwarder.set_upstreams(found)

    def stop(self) -> None:
        """Give up what is under way."""
        for zone in self.zones:
            zone.forwarder.stop()

    async def resolve(self, question: Question) -> Answer:
        """What an upstream server says. Raises ForwardError when none says anything."""
        forwarder = self._forwarder(question.name)
        if forwarder is None:
            return await self._following.resolve(question)
        if self._pending[forwarder] >= MAX_PENDING:
            metrics.FORWARD_OVERLOAD.inc()
            return Answer(SERVFAIL, source=NAME)
        self._pending[forwarder] += 1
        try:
            answer = self._read(await forwarder.ask(_asked(question, True)), question)
            if answer.code in _NO_EDNS:
                answer = self._read(await forwarder.ask(_asked(question, False)), question)
        finally:
            self._pending[forwarder] -= 1
        return answer

    @staticmethod
    def _read(data: bytes, question: Question) -> Answer:
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


def _asked(question: Question, edns: bool) -> bytes:
    """The question behind its id, the same for everybody who asks it, so that one answer serves all.

    AD asks for the answer's own AD bit, which is given to those who want to know (RFC 6840 section 5.7).
    """
    flags = RECURSION_DESIRED | AUTHENTIC | question.flags & CHECKING_DISABLED
    head = flags.to_bytes(2, "big") + b"\0\1\0\0\0\0\0" + bytes([edns])
    packed = head + question.name + question.section[-4:]
    if not edns:
        return packed
    return packed + _OPT + (b"\0\0\x80\0\0\0" if question.dnssec_ok else bytes(6))
