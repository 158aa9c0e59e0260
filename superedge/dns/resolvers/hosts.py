"""Names of files in the format of /etc/hosts."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from twisted.logger import Logger
from zope.interface import implementer

from superedge.dns.packing import Record, packed
from superedge.dns.wire import AAAA, ANY, IN, PTR, A, wire_name
from superedge.interfaces import Answer, IResolver, Question

NAME = "hosts"
TTL = 60
_log = Logger()


def parse_hosts(text: str) -> dict[bytes, list[Record]]:
    """The records of a file by name; lines that are none are passed over."""
    found: dict[bytes, list[Record]] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        try:
            address = ip_address(words[0])
            names = [wire_name(word) for word in words[1:]]
        except (IndexError, ValueError):
            continue
        for name in names:
            record = Record(name, A if address.version == 4 else AAAA, TTL, address.packed)
            found.setdefault(name, []).append(record)
        if names:
            reverse = wire_name(address.reverse_pointer)
            found.setdefault(reverse, []).append(Record(reverse, PTR, TTL, names[0]))
    return found


@implementer(IResolver)
class HostsResolver:
    """Answers for the names in ``paths``; `reload` reads them again."""

    def __init__(self, paths: Sequence[Path], following: IResolver) -> None:
        self._paths = paths
        self._following = following
        self._records: dict[bytes, list[Record]] = {}
        self.reload()

    def reload(self) -> None:
        """Read the files; while one cannot be read its names are absent."""
        records: dict[bytes, list[Record]] = {}
        for path in self._paths:
            try:
                text = path.read_text(errors="replace")
            except OSError as problem:
                _log.error("{path} cannot be read: {problem}", path=path, problem=problem.strerror)
                continue
            for name, found in parse_hosts(text).items():
                records.setdefault(name, []).extend(found)
        self._records = records

    async def resolve(self, question: Question) -> Answer:
        """From the files, or of the next link."""
        found = self._records.get(question.name)
        if found is None or question.qclass != IN:
            return await self._following.resolve(question)
        return packed(question, [r for r in found if question.kind in (r.kind, ANY)], source=NAME)
