from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import REGISTRY
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from superedge.errors import StoreLost
from superedge.interfaces import Change, Entry, ICacheStore
from superedge.liteapiserver.cache.committer import MAX_BATCH, RETRY, Committer

REFUSED = {"outcome": "refused"}


@implementer(ICacheStore)
class Store:
    """Applies when the test says so."""

    def __init__(self) -> None:
        self.batches: list[dict[tuple[str, ...], bytes | None]] = []
        self.waiting: list[Deferred[None]] = []
        self.refuse = False
        self.hold = False
        self.closed = False
        self.problem: Exception | None = None
        self.held: list[Entry] = []

    async def load(self) -> Sequence[Entry]:
        return self.held

    async def check(self) -> None:
        if self.hold:
            gate: Deferred[None] = Deferred()
            self.waiting.append(gate)
            await gate
        problem, self.problem = self.problem, None
        if problem is not None:
            raise problem

    async def apply(self, changes: Sequence[Change]) -> None:
        if self.refuse:
            raise OSError(28, "No space left on device")
        if self.hold:
            gate: Deferred[None] = Deferred()
            self.waiting.append(gate)
            await gate
        self.batches.append({change.key: change.value for change in changes})

    async def close(self) -> None:
        self.closed = True


class CommitterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.store = Store()
        self.committer = Committer(self.clock, self.store, 0.05)  # type: ignore[arg-type]

    def add(self, name: str, value: bytes | None) -> None:
        self.committer.add("object", (name,), value)

    def test_changes_of_a_moment_are_one_batch(self) -> None:
        for number in range(100):
            self.add("same", b"%d" % number)
        self.committer.loaded([Entry("object", ("other",), b"")])
        self.add("other", None)
        self.assertEqual(self.store.batches, [])
        self.clock.advance(0.05)
        self.assertEqual(self.store.batches, [{("same",): b"99", ("other",): None}])
        self.clock.advance(10)
        self.assertEqual(len(self.store.batches), 1)

    def test_many_changes_do_not_wait(self) -> None:
        for number in range(MAX_BATCH):
            self.add(str(number), b"")
        self.clock.advance(0)
        self.assertEqual(len(self.store.batches), 1)

    def test_one_batch_at_a_time(self) -> None:
        self.store.hold = True
        self.add("a", b"1")
        self.clock.advance(0.05)
        self.add("a", b"2")
        self.clock.advance(0.05)
        self.assertEqual(len(self.store.waiting), 1)
        self.store.waiting.pop().callback(None)
        self.clock.advance(0)
        self.store.waiting.pop().callback(None)
        self.assertEqual(self.store.batches, [{("a",): b"1"}, {("a",): b"2"}])

    def test_a_disk_that_stalls_for_long(self) -> None:
        self.store.hold = True
        for number in range(5000):
            self.add("a", b"%d" % number)
            self.clock.advance(0.05)
        self.store.hold = False
        self.store.waiting.pop().callback(None)
        self.clock.advance(0)
        self.assertEqual(self.store.batches, [{("a",): b"0"}, {("a",): b"4999"}])
        self.add("b", b"1")
        self.clock.advance(0.05)
        self.assertEqual(self.store.batches[-1], {("b",): b"1"})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_full_disk_keeps_changes_and_tries_again(self) -> None:
        self.store.refuse = True
        self.add("a", b"1")
        self.add("b", b"1")
        self.clock.advance(0.05)
        self.assertIn("No space left", self.committer.degraded)
        self.add("a", b"2")
        self.clock.advance(RETRY)
        self.assertEqual(self.committer.pending, 2)
        self.store.refuse = False
        self.clock.advance(RETRY)
        self.assertEqual(self.store.batches, [{("a",): b"2", ("b",): b"1"}])
        self.assertEqual(self.committer.degraded, "")
        self.assertEqual(self.committer.pending, 0)

    def test_a_full_disk_is_not_tried_more_often_for_many_changes(self) -> None:
        refused = REGISTRY.get_sample_value("superedge_liteapiserver_commits_total", REFUSED) or 0.0
        self.store.refuse = True
        self.add("a", b"1")
        self.clock.advance(0.05)
        for number in range(MAX_BATCH + 1):
            self.add(str(number), b"")
        self.store.refuse = False
        self.clock.advance(RETRY - 0.1)
        self.assertEqual((self.committer.pending, self.store.batches), (MAX_BATCH + 2, []))
        self.clock.advance(0.1)
        self.assertEqual([len(batch) for batch in self.store.batches], [MAX_BATCH + 2])
        self.assertEqual(
            REGISTRY.get_sample_value("superedge_liteapiserver_commits_total", REFUSED), refused + 1
        )

    def test_what_comes_and_goes_is_never_written(self) -> None:
        self.add("a", b"1")
        self.add("a", None)
        self.add("never", None)
        self.clock.advance(0.05)
        self.assertEqual(self.store.batches, [])

    def test_what_comes_and_goes_while_the_disk_is_full_leaves_nothing(self) -> None:
        self.add("kept", b"1")
        self.clock.advance(0.05)
        self.store.refuse = True
        for number in range(1000):
            self.add(f"event-{number}", b"x")
            self.add(f"event-{number - 1}", None)
        self.add("kept", None)
        self.assertLess(self.committer.pending, 5)
        self.clock.advance(RETRY)
        self.store.refuse = False
        self.clock.advance(RETRY)
        self.assertEqual(self.store.batches[1:], [{("event-999",): b"x", ("kept",): None}])

    def test_a_deletion_while_the_record_is_being_written(self) -> None:
        self.store.hold = True
        self.add("a", b"1")
        self.clock.advance(0.05)
        self.add("a", None)
        self.clock.advance(0.05)
        self.store.waiting.pop().callback(None)
        self.clock.advance(0)
        self.store.waiting.pop().callback(None)
        self.assertEqual(self.store.batches, [{("a",): b"1"}, {("a",): None}])
        self.add("a", None)
        self.assertEqual(self.committer.pending, 0)

    def test_a_deletion_after_a_refused_record(self) -> None:
        """The store may have taken it in spite of what it said."""
        self.store.refuse = True
        self.add("a", b"1")
        self.clock.advance(0.05)
        self.add("a", None)
        self.store.refuse = False
        self.clock.advance(RETRY)
        self.assertEqual(self.store.batches, [{("a",): None}])

    def test_closing_writes_what_is_pending(self) -> None:
        self.add("a", b"1")
        self.successResultOf(Deferred.fromCoroutine(self.committer.close()))
        self.assertEqual(self.store.batches, [{("a",): b"1"}])
        self.assertTrue(self.store.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_store_that_lost_everything_is_given_it_again(self) -> None:
        self.add("a", b"1")
        self.clock.advance(0.05)
        self.committer.check()
        self.clock.advance(1)
        self.assertEqual((len(self.store.batches), self.committer.degraded), (1, ""))
        self.store.problem = StoreLost("/cache was removed")
        self.store.held = [Entry("object", ("older",), b"")]
        self.committer.on_lost = lambda: self.add("a", b"1")
        self.committer.check()
        self.assertEqual(self.committer.degraded, "/cache was removed")
        self.clock.advance(0)
        self.assertEqual(self.store.batches[1:], [{("older",): None, ("a",): b"1"}])
        self.assertEqual(self.committer.degraded, "")
        self.add("a", None)
        self.clock.advance(0.05)
        self.assertEqual(self.store.batches[2:], [{("a",): None}])

    def test_what_is_due_during_a_check_is_written_after_it(self) -> None:
        self.store.hold = True
        self.add("a", b"1")
        self.committer.check()
        self.clock.advance(0.05)
        self.store.hold = False
        self.store.waiting.pop().callback(None)
        self.clock.advance(0)
        self.assertEqual(self.store.batches, [{("a",): b"1"}])
        self.assertEqual(self.committer.pending, 0)

    def test_a_store_that_cannot_be_looked_at(self) -> None:
        self.store.problem = OSError(5, "Input/output error")
        self.committer.check()
        self.assertEqual(self.committer.degraded, "", "the next batch tells")
        self.committer.check()
        self.add("a", b"1")
        self.clock.advance(0.05)
        self.assertEqual(len(self.store.batches), 1)
