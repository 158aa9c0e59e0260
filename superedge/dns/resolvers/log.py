"""A log line for each question."""

from __future__ import annotations

from dnslib import QTYPE, RCODE
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from superedge.dns.wire import text_name
from superedge.interfaces import Answer, IResolver, Question

_log = Logger()


@implementer(IResolver)
class LogResolver:
    """Logs what the next link says; such answers are not given again unasked, so that each one is logged."""

    def __init__(self, reactor: IReactorTime, following: IResolver) -> None:
        self._reactor = reactor
        self._following = following

    async def resolve(self, question: Question) -> Answer:
        """What the next link says."""
        begun = self._reactor.seconds()
        answer = await self._following.resolve(question)
        _log.info(
            "{name} {kind}: {code} of {source} after {seconds:.6f} s",
            name=text_name(question.section),
            kind=QTYPE.forward.get(question.kind, f"TYPE{question.kind}"),
            code=RCODE.forward.get(answer.code, str(answer.code)),
            source=answer.source or "nobody",
            seconds=self._reactor.seconds() - begun,
        )
        return Answer(
            answer.code,
            answer.counts,
            answer.records,
            answer.authoritative,
            answer.authentic,
            answer.truncated,
            source=answer.source,
        )
