"""The cache on a clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.localdns import CacheConfig
from superedge.dns.packing import Record, packed
from superedge.dns.ports import ForwardError
from superedge.dns.resolvers import cache
from superedge.dns.resolvers.cache import PATIENCE, RETRY, STALE_TTL, CacheResolver
from superedge.dns.wire import NOERROR, NXDOMAIN
from superedge.interfaces import Answer, Question
from tests.dns.asking import question, read


class Next:
    """The next link: answers with the time, fails, or keeps waiting."""

    def __init__(self, clock: Clock, ttl: int = 60) -> None:
        self.clock, self.ttl = clock, ttl
        self.asked = 0
        self.mode: Callable[[Question], Any] = self.answer

    def answer(self, asked: Question) -> Answer:
        text = bytes([192, 0, 2, int(self.clock.seconds()) % 256])
        return packed(asked, [Record(asked.name, 1, self.ttl, text)])

    async def resolve(self, asked: Question) -> Answer:
        self.asked += 1
        result = self.mode(asked)
        if isinstance(result, Deferred):
            return cast(Answer, await result)
        return cast(Answer, result)


def fail(asked: Question) -> Answer:
    raise ForwardError("nobody answers")


class CacheTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.make()

    def make(self, ttl: int = 60, **options: Any) -> None:
        self.clock = Clock()
        self.clock.advance(10)
        self.following = Next(self.clock, ttl)
        self.cache = CacheResolver(cast(Any, self.clock), CacheConfig(**options), cast(Any, self.following))

    def begin(self, name: str = "a.example") -> Deferred[Answer]:
        return Deferred.fromCoroutine(self.cache.resolve(question(name)))

    def ask(self, name: str = "a.example") -> tuple[str, int]:
        """The address and its TTL."""
        return self.shown(self.successResultOf(self.begin(name)), name)

    def shown(self, answer: Answer, name: str = "a.example") -> tuple[str, int]:
        (record,) = read(question(name), answer).rr
        return str(record.rdata), record.ttl

    def test_ttls_grow_shorter_until_it_is_asked_again(self) -> None:
        self.make(prefetch=False)
        self.assertEqual(self.ask(), ("192.0.2.10", 60))
        for seconds, ttl in ((1, 59), (40, 19), (18.5, 1)):
            self.clock.advance(seconds)
            self.assertEqual(self.ask(), ("192.0.2.10", ttl))
        self.assertEqual(self.following.asked, 1)
        self.clock.advance(1)
        self.assertEqual(self.ask(), ("192.0.2.70", 60))

    def test_the_answer_may_be_repeated_for_the_rest_of_the_second(self) -> None:
        self.ask()
        self.clock.advance(0.25)
        self.assertEqual(self.successResultOf(self.begin()).until, 11.0)
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(self.begin()).until, 12.0)

    def test_longest_life(self) -> None:
        self.make(ttl=99999, max_ttl=20, prefetch=False)
        self.assertEqual(self.ask()[1], 20)
        self.clock.advance(5)
        self.assertEqual(self.ask()[1], 15)
        self.clock.advance(16)
        self.assertEqual(self.ask(), ("192.0.2.31", 20))

    def test_a_negative_answer_lives_as_long_as_its_soa_says(self) -> None:
        """The SOA's own TTL is shortened to that, and grows shorter."""
        for minimum, ttl, expected in ((33, 900, 33), (900, 33, 33), (9000, 9000, 300)):
            self.make(prefetch=False)
            soa = Record(b"\x07example\0", 6, ttl, b"\1a\0\1b\0" + bytes(16) + minimum.to_bytes(4, "big"))
            self.following.mode = lambda asked, soa=soa: packed(asked, [], [soa], code=3)  # type: ignore[misc]
            for age in (0, 1.5, expected - 2):
                self.clock.advance(age)
                answer = read(question("a.example"), self.successResultOf(self.begin()))
                self.assertEqual(answer.auth[0].ttl, expected - int(self.clock.seconds() - 10))
            self.assertEqual(self.following.asked, 1)
            self.clock.advance(1)
            self.begin()
            self.assertEqual(self.following.asked, 2)

    def test_no_life(self) -> None:
        self.make(ttl=0)
        self.ask()
        self.ask()
        self.assertEqual((self.following.asked, len(self.cache)), (2, 0))

    def test_a_hot_name_is_fetched_before_its_end(self) -> None:
        self.ask()
        self.ask()
        self.clock.advance(55)
        self.assertEqual(self.ask(), ("192.0.2.10", 5))
        self.assertEqual(self.following.asked, 2)
        self.assertEqual(self.ask(), ("192.0.2.65", 60))

    def test_stale_at_once_after_a_failure(self) -> None:
        self.ask()
        self.following.mode = fail
        self.clock.advance(100)
        self.assertEqual(self.ask(), ("192.0.2.10", STALE_TTL))
        for _ in range(3):
            self.assertEqual(self.ask(), ("192.0.2.10", STALE_TTL))
        self.assertEqual(self.following.asked, 2, "the next ones did not wait for it")
        self.following.mode = self.following.answer
        self.clock.advance(RETRY)
        self.assertEqual(self.ask(), ("192.0.2.115", 60))

    def test_stale_when_nobody_answers_in_time(self) -> None:
        self.ask()
        late: Deferred[Answer] = Deferred()
        self.following.mode = lambda _: late
        self.clock.advance(100)
        waiting = [self.begin(), self.begin()]
        self.clock.advance(PATIENCE - 0.1)
        self.assertNoResult(waiting[0])
        self.clock.advance(0.1)
        for each in waiting:
            self.assertEqual(self.shown(self.successResultOf(each)), ("192.0.2.10", STALE_TTL))
        self.assertEqual(self.following.asked, 2)
        late.callback(self.following.answer(question("a.example")))
        self.assertEqual(self.ask()[1], 60)

    def test_nobody_waits_again_while_no_new_answer_comes(self) -> None:
        self.ask()
        attempts: list[Deferred[Answer]] = []

        def attempt(asked: Question) -> Deferred[Answer]:
            attempts.append(Deferred())
            return attempts[-1]

        self.following.mode = attempt
        self.clock.advance(100)
        first = self.begin()
        self.clock.advance(PATIENCE)
        self.successResultOf(first)
        for _ in range(3):
            attempts[-1].errback(ForwardError("nobody answers"))
            self.clock.advance(RETRY)
            self.assertEqual(self.ask(), ("192.0.2.10", STALE_TTL))
        self.assertEqual(len(attempts), 4)
        attempts[-1].callback(self.following.answer(question("a.example")))
        self.assertEqual(self.ask()[1], 60)

    def test_stale_rather_than_servfail(self) -> None:
        self.ask()
        self.following.mode = lambda _: Answer(2)
        self.clock.advance(100)
        self.assertEqual(self.ask(), ("192.0.2.10", STALE_TTL))

    def test_an_answer_that_may_not_be_kept_ends_the_stale_one(self) -> None:
        def without_soa(code: int) -> Callable[[Question], Answer]:
            return lambda asked: packed(asked, code=code)

        for code in (NOERROR, NXDOMAIN):
            self.make()
            self.ask()
            self.following.mode = without_soa(code)
            self.clock.advance(100)
            for asked in (2, 3):
                answer = self.successResultOf(self.begin())
                self.assertEqual((answer.code, sum(answer.counts), self.following.asked), (code, 0, asked))
        self.make()
        self.ask()
        self.clock.advance(100)
        self.following.ttl = 0
        self.assertEqual(self.ask(), ("192.0.2.110", 0))

    def test_those_who_wait_for_it_get_it_too(self) -> None:
        self.ask()
        late: Deferred[Answer] = Deferred()
        self.following.mode = lambda _: late
        self.clock.advance(100)
        waiting = [self.begin(), self.begin()]
        late.callback(packed(question("a.example"), code=NXDOMAIN))
        self.assertEqual([self.successResultOf(each).code for each in waiting], [NXDOMAIN] * 2)

    def test_a_cut_answer_is_no_better_than_the_stale_one(self) -> None:
        self.ask()
        self.following.mode = lambda asked: replace(packed(asked), truncated=True)
        self.clock.advance(100)
        self.assertEqual(self.ask(), ("192.0.2.10", STALE_TTL))

    def test_a_flood_does_not_wait(self) -> None:
        self.patch(cache, "MAX_WAITING", 3)
        self.ask()
        self.following.mode = lambda _: Deferred()
        self.clock.advance(100)
        waiting = [self.begin() for _ in range(5)]
        for each in waiting[:3]:
            self.assertNoResult(each)
        for each in waiting[3:]:
            self.assertEqual(self.shown(self.successResultOf(each))[1], STALE_TTL)
        self.clock.advance(PATIENCE)

    def test_too_stale(self) -> None:
        self.make(stale=50.0)
        self.ask()
        self.following.mode = fail
        self.clock.advance(111)
        self.failureResultOf(self.begin(), ForwardError)

    def test_the_least_recently_asked_gives_way(self) -> None:
        self.make(entries=2)
        for name in ("a.example", "b.example", "a.example", "c.example", "a.example"):
            self.ask(name)
        self.assertEqual((self.following.asked, len(self.cache)), (3, 2))
        self.make(max_bytes=1200)
        for number in range(10):
            self.ask(f"{number}.example")
        self.assertEqual(len(self.cache), 2)
