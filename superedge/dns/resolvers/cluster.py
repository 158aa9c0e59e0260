"""Names of the cluster, from its zone."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from msgspec.structs import replace
from zope.interface import implementer

from superedge.dns.cluster.zone import REVERSE, ClusterZone
from superedge.dns.packing import Record, packed, soa_record
from superedge.dns.received import expanded
from superedge.dns.wire import ANY, ANY_CLASS, CNAME, IN, NOERROR, NXDOMAIN, REFUSED, SERVFAIL
from superedge.interfaces import Answer, IResolver, Question

NAME = "cluster"
MAX_ALIASES = 8
"""CNAME records in a row inside the zone."""
MAX_KNOWN = 20_000
"""Answers that are kept packed until the zone changes."""


@implementer(IResolver)
class ClusterResolver:
    """Answers from ``zone``; before ``loaded`` the zone's names and reverse names are SERVFAIL."""

    def __init__(
        self, zone: ClusterZone, loaded: Callable[[], bool], following: IResolver, outside: IResolver
    ) -> None:
        """``outside`` is asked what an ExternalName leads to."""
        self._zone = zone
        self._targets = outside
        self._suffixes = (zone.name, *REVERSE)
        self._loaded = loaded
        self._following = following
        self._known: dict[tuple[bytes, int], Answer] = {}
        self._serial = -1

    async def resolve(self, question: Question) -> Answer:
        """From the zone, or of the next link."""
        if question.qclass not in (IN, ANY_CLASS) or not question.name.endswith(self._suffixes):
            return await self._following.resolve(question)
        if self._serial != self._zone.serial:
            self._serial = self._zone.serial
            self._known.clear()
        known = self._known.get((question.name, question.kind))
        if known is not None:
            return known
        if not self._loaded():
            return Answer(SERVFAIL, source=NAME)
        answer = await self._find(question)
        if answer.until == inf:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[question.name, question.kind] = answer
        return answer

    async def _find(self, question: Question) -> Answer:
        name, kind = question.name, question.kind
        aliases: list[Record] = []
        while True:
            found = self._zone.find(name, kind)
            if found is None:
                if not aliases:
                    return await self._following.resolve(question)
                return await self._outside(question, name, aliases)
            follow = len(found.records) == 1 and found.records[0].kind == CNAME and kind not in (CNAME, ANY)
            if not follow:
                break
            aliases.append(found.records[0])
            name = found.records[0].data
            if len(aliases) > MAX_ALIASES:
                return packed(question, aliases, code=SERVFAIL, until=inf, source=NAME)
        records = [*aliases, *found.records]
        authority = []
        if not found.records:
            soa = self._zone.soa()
            server = b"\x02ns\x03dns" + self._zone.name
            authority = [soa_record(found.zone, soa.ttl, server, self._zone.serial) if found.zone else soa]
        code = NOERROR if found.exists else NXDOMAIN
        return packed(question, records, authority, found.additional, code=code, until=inf, source=NAME)

    async def _outside(self, question: Question, name: bytes, aliases: list[Record]) -> Answer:
        """What is said of the name that an ExternalName leads to, behind the way there."""
        target = replace(question, name=name, section=name + question.section[-4:])
        answer = await self._targets.resolve(target)
        try:
            records, authority, _ = expanded(target, answer)
        except ValueError:
            return Answer(SERVFAIL, source=NAME)
        joined = packed(
            question,
            [*aliases, *records],
            authority,
            # When nobody answers for the target, the way to it is all that there is to say.
            code=NOERROR if answer.code == REFUSED else answer.code,
            authoritative=False,
            until=answer.until,
            source=NAME,
        )
        return replace(joined, truncated=answer.truncated)
