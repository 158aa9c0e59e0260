"""Names of connected nodes. Pure: who is connected is asked of the tunnel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address

from dnslib import AAAA, CLASS, QTYPE, RR, A, DNSRecord

from superedge.dns.messages import negative
from superedge.net.names import strip_suffix

_ANY_CLASS = 255


class NodeZone:
    """Answers for a connected node with the addresses of the process that holds its session."""

    def __init__(
        self, knows: Callable[[str], bool], addresses: Sequence[str], suffixes: Sequence[str], ttl: int
    ) -> None:
        parsed = [ip_address(text) for text in addresses]
        self._knows = knows
        self._suffixes = suffixes
        self._ttl = ttl
        self._records = {
            QTYPE.A: [A(str(address)) for address in parsed if address.version == 4],
            QTYPE.AAAA: [AAAA(str(address)) for address in parsed if address.version == 6],
        }

    def answer(self, query: DNSRecord) -> DNSRecord | None:
        """The answer to a question about a connected node, None for any other name."""
        question = query.q
        if question.qclass not in (CLASS.IN, _ANY_CLASS):
            return None
        # The question's own spelling is kept: resolvers check that it comes back (0x20).
        name = str(question.qname)
        if not any(self._knows(node) for node in strip_suffix(name, self._suffixes)):
            return None
        records = self._records.get(question.qtype, [])
        if question.qtype == QTYPE.ANY:
            records = [record for each in self._records.values() for record in each]
        if not records:
            return negative(query, name, self._ttl)
        answer = query.reply(ra=1, aa=1)
        for record in records:
            kind = QTYPE.AAAA if isinstance(record, AAAA) else QTYPE.A
            answer.add_answer(RR(question.qname, kind, ttl=self._ttl, rdata=record))
        return answer
