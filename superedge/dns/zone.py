"""Names of nodes. Pure: where they are is asked of a directory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Literal, Protocol

from dnslib import AAAA, CLASS, PTR, QTYPE, RCODE, RR, A, DNSRecord

from superedge.dns.messages import failure, negative
from superedge.net.names import is_in_zone, strip_suffix

Unconnected = Literal["address", "nxdomain", "servfail", "forward"]

MAX_NAMES = 1000
"""Names in one answer to a reverse question."""
MAX_BYTES = 65_000
"""Bytes of these names' records: what TCP carries, beside the question."""
_RECORD = 14
"""Bytes of a record beside the text of the name in it."""
_ANY_CLASS = 255


class Directory(Protocol):
    """What the zone asks. Names are lower case, addresses IP literals in their usual form."""

    def serving(self, node: str) -> Sequence[str]:
        """Where a connected node is reached; empty for any other name."""

    def own(self, node: str) -> Sequence[str] | None:
        """The own addresses of a node that is known, connected or not; None for any other name."""

    def names_at(self, address: str) -> Sequence[str]:
        """The connected nodes that are reached at an address."""

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back after any of these answers may have changed."""


class NodeZone:
    """Answers for nodes; every other name is none of its business."""

    def __init__(
        self,
        directory: Directory,
        suffixes: Sequence[str],
        ttl: int,
        unconnected: Unconnected = "forward",
        others: Sequence[str] = (),
    ) -> None:
        """``unconnected``: what is said of a node that is known and not connected.

        Names in the zones ``others`` are never a node's, whatever the directory says.
        """
        self._others = others
        self._directory = directory
        self._suffixes = suffixes
        self._ttl = ttl
        self._unconnected = unconnected

    def answer(self, query: DNSRecord) -> DNSRecord | None:
        """The answer to a question about a node, None for any other name."""
        question = query.q
        if question.qclass not in (CLASS.IN, _ANY_CLASS) or any(
            b"." in part for part in question.qname.label
        ):
            return None
        # The question's own spelling is kept: resolvers check that it comes back (0x20).
        name = str(question.qname)
        nodes = strip_suffix(name, self._suffixes)
        if any(is_in_zone(nodes[0], zone) for zone in self._others):
            return None
        for node in nodes:
            if addresses := self._directory.serving(node):
                return self._addresses(query, name, addresses)
        if self._unconnected != "forward":
            for node in nodes:
                own = self._directory.own(node)
                if own is not None:
                    return self._not_connected(query, name, own)
        return self._reverse(query, name)

    def _not_connected(self, query: DNSRecord, name: str, own: Sequence[str]) -> DNSRecord:
        if self._unconnected == "servfail":
            return failure(query, RCODE.SERVFAIL)
        if self._unconnected == "address":
            return self._addresses(query, name, own)
        answer = negative(query, name, self._ttl)
        answer.header.rcode = RCODE.NXDOMAIN
        return answer

    def _addresses(self, query: DNSRecord, name: str, addresses: Sequence[str]) -> DNSRecord:
        question = query.q
        answer = query.reply(ra=1, aa=1)
        for text in addresses:
            kind = QTYPE.A if ip_address(text).version == 4 else QTYPE.AAAA
            if question.qtype in (kind, QTYPE.ANY):
                record = A(text) if kind == QTYPE.A else AAAA(text)
                answer.add_answer(RR(question.qname, kind, ttl=self._ttl, rdata=record))
        return answer if answer.rr else negative(query, name, self._ttl)

    def _reverse(self, query: DNSRecord, name: str) -> DNSRecord | None:
        address = reverse_address(name)
        names = self._directory.names_at(address) if address is not None else ()
        if not names:
            return None
        if query.q.qtype not in (QTYPE.PTR, QTYPE.ANY):
            return negative(query, name, self._ttl)
        answer = query.reply(ra=1, aa=1)
        room = MAX_BYTES
        for node in names[:MAX_NAMES]:
            room -= _RECORD + len(node)
            if room < 0:
                break
            answer.add_answer(RR(query.q.qname, QTYPE.PTR, ttl=self._ttl, rdata=PTR(node)))
        return answer


def reverse_address(name: str) -> str | None:
    """The address that a name below in-addr.arpa or ip6.arpa stands for (RFC 1035 3.5, RFC 3596 2.5)."""
    labels = name.lower().removesuffix(".").split(".")
    parts = labels[-3::-1]
    try:
        if labels[-2:] == ["in-addr", "arpa"] and len(parts) == 4:
            return str(ip_address(".".join(parts)))
        if labels[-2:] == ["ip6", "arpa"] and len(parts) == 32 and all(len(part) == 1 for part in parts):
            digits = "".join(parts)
            return str(ip_address(":".join(digits[at : at + 4] for at in range(0, 32, 4))))
    except ValueError:
        pass
    return None
