"""Answers of the next link, kept as long as they may be, and longer while nobody gives a new one.

Sources: RFC 2308 (negative answers), RFC 8767 (stale answers).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from superedge.config.localdns import CacheConfig
from superedge.dns import metrics
from superedge.dns.received import lifetime, with_ttls
from superedge.dns.snapshot import KeptAnswer
from superedge.dns.wire import NOERROR, NXDOMAIN, text_name
from superedge.errors import SuperEdgeError
from superedge.interfaces import Answer, IReactor, IResolver, Question
from superedge.reactor.task import in_background

STALE_TTL = 30
"""Seconds for which a client may keep a stale answer."""
PATIENCE = 1.8
"""Seconds that a client waits before it gets a stale answer."""
MAX_WAITING = 1000
"""Clients that wait for one name's refresh; more get the stale answer at once."""
RETRY = 5.0
"""Seconds after a failed refresh during which stale answers are given at once."""
PREFETCH_SHARE = 0.1
"""An answer that is asked for in the last tenth of its life, one second at least, is refreshed."""
_OVERHEAD = 500
"""Bytes that an entry takes beside its records."""
_PACKED = 40
"""Bytes that it takes in a file beside its records and its name."""

_CHECKING_DISABLED = 0x0010
_ANSWERED = frozenset({NOERROR, NXDOMAIN})
"""RCODEs after which no stale answer is given (RFC 8767 section 4)."""
_log = Logger()

_Key = tuple[bytes, int, int, bool, int]


class _Entry:
    __slots__ = ("answer", "asked", "expires", "refreshing", "replaced", "retry", "stored", "ttls")

    def __init__(self, answer: Answer, stored: float, seconds: float, ttls: tuple[int, ...]) -> None:
        self.answer = answer
        self.stored = stored
        self.expires = stored + seconds
        self.ttls = ttls
        self.asked = 0
        self.retry = 0.0
        self.refreshing: list[Deferred[None]] | None = None
        """Who waits for a refresh that is under way."""
        self.replaced: Answer | None = None
        """What came instead, and may not be kept."""


@implementer(IResolver)
class CacheResolver:
    """Asks the next link once in an answer's lifetime."""

    def __init__(self, reactor: IReactor, config: CacheConfig, following: IResolver) -> None:
        self._reactor = reactor
        self._config = config
        self._following = following
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._bytes = 0
        self.changes = 0
        """Answers that were put in."""
        self.hits = 0
        self.misses = 0
        self.stale = 0

    def __len__(self) -> int:
        return len(self._entries)

    def kept(self, now: float, at_most: int) -> list[KeptAnswer]:
        """The answers for a file of ``at_most`` bytes, those asked for last first.

        ``now`` is in seconds since 1970.
        """
        found: list[KeptAnswer] = []
        ahead = now - self._reactor.seconds()
        for key in reversed(self._entries):
            entry = self._entries[key]
            answer = entry.answer
            at_most -= len(answer.records) + len(key[0]) + _PACKED
            if at_most < 0:
                break
            found.append(
                KeptAnswer(
                    *key,
                    answer.code,
                    answer.counts,
                    answer.records,
                    answer.authentic,
                    entry.ttls,
                    entry.expires + ahead,
                )
            )
        return found

    def restore(self, kept: Iterable[KeptAnswer], now: float) -> None:
        """Take answers of a file, as stale ones: each is asked again before it is given."""
        ahead = now - self._reactor.seconds()
        for each in reversed(list(kept)):
            # A machine without a clock of its own may believe that they are of tomorrow.
            expires = min(each.expired, now) - ahead
            answer = Answer(each.code, each.counts, each.records, authentic=each.authentic)
            key = (each.name, each.kind, each.qclass, each.dnssec_ok, each.checking_disabled)
            self._keep(key, _Entry(answer, expires, 0, each.ttls))

    async def resolve(self, question: Question) -> Answer:
        """From memory, or of the next link."""
        key = _key(question)
        entry = self._entries.get(key)
        if entry is None:
            self.misses += 1
            metrics.CACHE_MISSES.labels().inc()
            return await self._fetch(key, question)
        now = self._reactor.seconds()
        self._entries.move_to_end(key)
        if now < entry.expires:
            self.hits += 1
            metrics.CACHE_HITS.labels("success" if entry.answer.code == 0 else "denial").inc()
            entry.asked += 1
            self._prefetch(key, entry, question, now)
            return self._aged(entry, now)
        if now >= entry.expires + self._config.stale:
            self._drop(key)
            self.misses += 1
            metrics.CACHE_MISSES.labels().inc()
            return await self._fetch(key, question)
        return await self._renewed(key, entry, question, now)

    def _aged(self, entry: _Entry, now: float) -> Answer:
        age = int(now - entry.stored)
        records = with_ttls(entry.answer.records, entry.ttls, less=age)
        until = min(entry.stored + age + 1, entry.expires)
        return replace(entry.answer, records=records, until=until, authoritative=False, source="cache")

    def _prefetch(self, key: _Key, entry: _Entry, question: Question, now: float) -> None:
        share = max(1.0, PREFETCH_SHARE * (entry.expires - entry.stored))
        if self._config.prefetch and entry.asked > 1 and entry.expires - now < share:
            self._refresh(key, entry, question)

    def _refresh(self, key: _Key, entry: _Entry, question: Question) -> list[Deferred[None]]:
        """Ask again, once at a time; what is in the result fires when that has ended in some way."""
        if entry.refreshing is None:
            waiting: list[Deferred[None]] = []
            entry.refreshing = waiting
            in_background(self._ask_again(key, entry, question), _log, "refreshing an answer failed")
            return waiting
        return entry.refreshing

    async def _ask_again(self, key: _Key, entry: _Entry, question: Question) -> None:
        try:
            answer = await self._fetch(key, question)
            if self._entries.get(key) is entry and answer.code in _ANSWERED and not answer.truncated:
                self._drop(key)
                entry.replaced = answer
        except SuperEdgeError as problem:
            _log.debug("{name} stays stale: {problem}", name=text_name(question.name), problem=problem)
        finally:
            entry.retry = self._reactor.seconds() + RETRY
            waiting, entry.refreshing = entry.refreshing or [], None
            for done in waiting:
                if not done.called:
                    done.callback(None)

    async def _renewed(self, key: _Key, entry: _Entry, question: Question, now: float) -> Answer:
        """A new answer, or the stale one when none comes in time.

        Only the first one who asks waits: while there is no new answer it is asked for in the background.
        """
        if now >= entry.retry:
            failed_before = entry.retry > 0
            waiting = self._refresh(key, entry, question)
            if entry.refreshing is not None and not failed_before and len(waiting) < MAX_WAITING:
                done: Deferred[None] = Deferred()
                waiting.append(done)
                late = self._reactor.callLater(PATIENCE, done.callback, None)
                await done
                if late.active():
                    late.cancel()
            newer = self._entries.get(key)
            if newer is not None and newer is not entry:
                self.misses += 1
                metrics.CACHE_MISSES.labels().inc()
                return self._aged(newer, self._reactor.seconds())
            if entry.replaced is not None:
                self.misses += 1
                metrics.CACHE_MISSES.labels().inc()
                return entry.replaced
        self.stale += 1
        metrics.CACHE_STALE.inc()
        records = with_ttls(entry.answer.records, entry.ttls, at_most=STALE_TTL, at_least=STALE_TTL)
        return replace(entry.answer, records=records, authoritative=False, source="cache")

    async def _fetch(self, key: _Key, question: Question) -> Answer:
        answer = await self._following.resolve(question)
        if answer.until:
            return answer
        life = lifetime(answer, question.kind)
        if life is None:
            return answer
        highest = self._config.max_negative_ttl if life.negative else self._config.max_ttl
        seconds = min(life.seconds, highest)
        if life.negative:
            highest = seconds  # also of the SOA (RFC 2308 section 5)
        if life.longest > highest:
            answer = replace(answer, records=with_ttls(answer.records, life.ttls, at_most=highest))
        if seconds > 0:
            self._keep(key, _Entry(answer, self._reactor.seconds(), seconds, life.ttls))
        return answer

    def _keep(self, key: _Key, entry: _Entry) -> None:
        self.changes += 1
        self._drop(key)
        self._entries[key] = entry
        self._bytes += len(entry.answer.records) + _OVERHEAD
        while len(self._entries) > self._config.entries or self._bytes > self._config.max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: _Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= len(entry.answer.records) + _OVERHEAD


def _key(question: Question) -> _Key:
    disabled = question.flags & _CHECKING_DISABLED
    return (question.name, question.kind, question.qclass, question.dnssec_ok, disabled)
