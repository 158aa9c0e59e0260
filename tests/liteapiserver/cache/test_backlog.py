"""Long lists wait for a quiet moment; nobody who asks sees that they did."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.liteapiserver.cache import backlog
from superedge.liteapiserver.cache.backlog import Backlog
from superedge.liteapiserver.cache.cache import Cache
from superedge.liteapiserver.cache.policy import Policy
from tests.liteapiserver.cache.driver import ME, PODS, Driver, event, gzipped, list_of, pod, request

PADDING = {"x" * 60_000: "y" * 10_000}


class Waiting(Driver):
    """A driver whose cache has a backlog."""

    def _make(self) -> Cache:
        self.clock = Clock()
        self.backlog = Backlog(self.clock)
        return Cache(
            Policy(self._rules),
            self._commit,
            self._max_body,
            self._limits,
            lambda: self.now,
            backlog=self.backlog,
        )


def long_list(name: str, version: int) -> bytes:
    return list_of([pod(name, version, **PADDING)], version)


class BacklogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.driver = Waiting()

    def test_only_the_latest_of_the_same_question_is_taken(self) -> None:
        for version in range(100, 110):
            self.driver.feed(PODS, long_list(f"pod-{version}", version))
        self.assertEqual(self.driver.commits, 0)
        self.driver.clock.advance(backlog.DELAY)
        self.assertEqual(self.driver.commits, 2, "one object and one view")
        self.assertEqual(self.driver.names(PODS), ["pod-109"])
        self.assertEqual(self.driver.clock.getDelayedCalls(), [])

    def test_an_older_list_that_is_answered_later(self) -> None:
        """A watch goes on from the newer one, as does the client that it was for."""
        for query in ("", "?resourceVersion=0"):
            self.setUp()
            target = PODS + query
            late = self.driver.begin(target)
            assert late is not None
            self.driver.feed(target, long_list("newer", 200))
            late.data([long_list("older", 100)])
            late.complete()
            watch = self.driver.watch(f"{PODS}?resourceVersion=200")
            self.assertEqual(self.driver.names(PODS), ["newer"])
            watch.data([event("ADDED", pod("added", 201))])
            self.assertEqual(self.driver.get(PODS)["metadata"]["resourceVersion"], "201")

    def test_a_list_that_may_be_old_replaces_nothing(self) -> None:
        """Another API server may answer it, which is behind."""
        for version in (200, 100):
            self.driver.feed(f"{PODS}?resourceVersion=0", long_list(f"at-{version}", version))
        self.driver.clock.advance(backlog.DELAY)
        self.assertEqual(self.driver.names(PODS), ["at-200"])

    def test_short_lists_and_objects_are_taken_at_once(self) -> None:
        self.driver.feed(PODS, list_of([pod("a", 1)], 5))
        self.assertEqual(self.driver.commits, 2)

    def test_an_answer_from_the_cache_knows_what_waits(self) -> None:
        self.driver.feed(PODS, long_list("a", 100))
        self.assertEqual(self.driver.names(PODS), ["a"])

    def test_answers_are_taken_in_their_order(self) -> None:
        self.driver.feed(PODS, long_list("a", 100))
        self.driver.feed(f"{PODS}/a", b'{"kind":"Status","reason":"NotFound"}', 404)
        self.assertEqual(self.driver.status(f"{PODS}/a"), 404)
        self.driver.feed("/api/v1/pods", long_list("b", 200))
        self.driver.feed(PODS, list_of([], 300))
        self.assertEqual(self.driver.status(f"{PODS}/b"), 404)

    def test_a_watch_goes_on_from_what_waits(self) -> None:
        self.driver.feed(PODS, long_list("a", 100))
        self.driver.watch(f"{PODS}?resourceVersion=100", event("DELETED", pod("a", 101)))
        self.assertEqual(self.driver.names(PODS), [])
        commits = self.driver.commits
        self.driver.feed(PODS, long_list("b", 102))
        self.assertGreater(self.driver.commits, commits, "while a watch is open nothing waits")

    def test_what_waits_is_denied_too(self) -> None:
        self.driver.feed(PODS, long_list("a", 100))
        self.driver.begin(PODS, 403)
        self.assertEqual(self.driver.status(PODS), 403)
        self.assertEqual(self.driver.status(f"{PODS}/a"), 503)

    def test_of_another_identity_nothing_is_taken(self) -> None:
        self.driver.feed(PODS, long_list("a", 100), identity="cert:other")
        self.assertEqual(self.driver.status(PODS), 503)
        self.assertEqual(self.driver.commits, 0)
        self.assertEqual(self.driver.cache.resume_version("cert:other", request(PODS)), "100")

    def test_what_cannot_be_decoded_harms_nothing(self) -> None:
        self.driver.feed(PODS, long_list("a", 100))
        self.driver.clock.advance(backlog.DELAY)
        self.driver.feed(PODS, long_list("b", 200)[:-1])
        self.driver.feed(PODS + "?limit=7", gzipped([long_list("c", 300)])[:-9], encoding=b"gzip")
        self.driver.backlog.close()
        self.assertEqual(self.driver.names(PODS), ["a"])

    def test_what_waits_is_bounded(self) -> None:
        self.patch(backlog, "MAX_BYTES", 300_000)
        for number in range(5):
            self.driver.feed(f"{PODS}?labelSelector=n%3D{number}", long_list("a", 100 + number))
        self.assertGreater(self.driver.commits, 0)

    def test_what_was_replaced_does_not_wait_any_more(self) -> None:
        self.patch(backlog, "MAX_BYTES", 300_000)
        for version in range(100, 110):
            self.driver.feed(PODS, long_list("a", version))
        self.assertEqual(self.driver.commits, 0)
        self.driver.backlog.drain_all()
        for version in range(110, 113):
            self.driver.feed(PODS, long_list("a", version))
        self.assertEqual(self.driver.commits, 2, "what was taken does not count, too")

    def test_decoding_has_a_share_of_the_time_alone(self) -> None:
        clock, waiting = self.driver.clock, self.driver.backlog
        waiting.put((ME, "", "pods"), 1, 10, lambda: clock.advance(0.1), 0)
        clock.advance(backlog.DELAY)
        waiting.put((ME, "", "pods"), 1, 10, lambda: None, 0)
        (call,) = clock.getDelayedCalls()
        self.assertAlmostEqual(call.getTime() - clock.seconds(), 0.1 * (backlog.SHARE - 1))
        waiting.close()
        self.assertEqual(clock.getDelayedCalls(), [])
