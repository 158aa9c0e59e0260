"""The chain's end."""

from __future__ import annotations

from zope.interface import implementer

from superedge.dns.wire import REFUSED
from superedge.interfaces import Answer, IResolver, Question


@implementer(IResolver)
class Refuse:
    """Answers REFUSED to what no link before it answered."""

    async def resolve(self, question: Question) -> Answer:
        """Refuse."""
        return Answer(REFUSED)
