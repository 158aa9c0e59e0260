"""Names asked under another name, and answered under their own."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace
from zope.interface import implementer

from superedge.config.localdns import RewriteConfig
from superedge.dns.packing import packed
from superedge.dns.received import expanded
from superedge.dns.wire import MAX_NAME, SERVFAIL, wire_name
from superedge.interfaces import Answer, IResolver, Question


@implementer(IResolver)
class RewriteResolver:
    """The first rule that a name matches says what is asked instead."""

    def __init__(self, rules: Sequence[RewriteConfig], following: IResolver) -> None:
        self._rules = [(rule.suffix, wire_name(rule.name), wire_name(rule.to)) for rule in rules]
        self._following = following

    async def resolve(self, question: Question) -> Answer:
        """What the next link says of the other name."""
        other = self._rewritten(question.name)
        if other is None:
            return await self._following.resolve(question)
        asked = replace(question, name=other, section=other + question.section[-4:])
        answer = await self._following.resolve(asked)
        try:
            found = expanded(asked, answer)
        except ValueError:
            return Answer(SERVFAIL, source=answer.source)
        sections = [
            [record._replace(owner=question.name) if record.owner == other else record for record in section]
            for section in found
        ]
        renamed = packed(
            question,
            *sections,
            code=answer.code,
            authoritative=answer.authoritative,
            until=answer.until,
            source=answer.source,
        )
        return replace(renamed, truncated=answer.truncated)

    def _rewritten(self, name: bytes) -> bytes | None:
        for suffix, of, to in self._rules:
            if name == of and not suffix:
                return to
            # `of` begins with a label's length: that it ends the name at a label's border is to be checked.
            if suffix and name.endswith(of) and _at_label(name, len(name) - len(of)):
                other = name[: -len(of)] + to
                return other if len(other) <= MAX_NAME + 1 else None
        return None


def _at_label(name: bytes, border: int) -> bool:
    at = 0
    while at < border:
        at += 1 + name[at]
    return at == border
