"""Watches feed the cache, and are answered from it."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.kube.json import JSONCodec
from superedge.kube.media import PROTOBUF
from superedge.kube.objects import WatchEvent
from superedge.liteapiserver.cache import recorders
from superedge.liteapiserver.cache.answers import Answer, WatchAnswer
from tests.kube.test_codecs import sample
from tests.liteapiserver.cache.driver import (
    ME,
    PODS,
    Driver,
    bookmark,
    event,
    gzipped,
    list_of,
    pod,
    request,
    typed,
)

INITIAL = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
SAMPLES = "/api/v1/namespaces/samples/configmaps"


class OnlineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.driver = Driver()
        self.driver.feed(PODS, list_of([pod("a", 3), pod("b", 4)], 9))

    def version(self) -> str:
        return str(self.driver.get(PODS)["metadata"]["resourceVersion"])

    def test_events_change_the_list_they_continue(self) -> None:
        self.driver.watch(
            f"{PODS}?resourceVersion=9",
            event("ADDED", pod("c", 10)),
            event("MODIFIED", pod("a", 11)),
            event("DELETED", pod("b", 12)),
        )
        for _ in range(2):
            self.assertEqual(self.driver.names(PODS), ["a", "c"])
            self.assertEqual(self.version(), "12")
            self.assertEqual(self.driver.get(f"{PODS}/a")["metadata"]["resourceVersion"], "11")
            self.assertEqual(self.driver.status(f"{PODS}/b"), 404)
            self.driver.reboot()

    def test_several_watches_decode_an_event_once(self) -> None:
        decoded: list[bytes] = []
        codec = type(self.driver.cache.collections()[0].codec)
        real = codec.decode_event

        def decode(each: JSONCodec, frame: bytes) -> WatchEvent:
            decoded.append(frame)
            return real(each, frame)

        self.patch(codec, "decode_event", decode)
        watches = [self.driver.watch(f"{PODS}?resourceVersion=9") for _ in range(5)]
        for watch in watches:
            watch.data([event("ADDED", pod("c", 10))])
        self.assertEqual(len(decoded), 1)
        for watch in watches[1:]:
            watch.complete()
        self.assertEqual(self.driver.cache.collections()[0]._decoded, {})  # one alone keeps nothing twice
        watches[0].data([event("ADDED", pod("d", 11))])
        self.assertEqual(self.driver.names(PODS), ["a", "b", "c", "d"])
        self.assertEqual(self.driver.cache.collections()[0]._decoded, {})

    def test_bookmarks_move_the_version(self) -> None:
        self.driver.watch(f"{PODS}?resourceVersion=9", bookmark(50))
        self.assertEqual(self.version(), "50")
        self.driver.reboot()
        self.assertEqual(self.version(), "50")

    def test_the_same_events_twice(self) -> None:
        events = [event("ADDED", pod("c", 10)), event("DELETED", pod("c", 12))]
        self.driver.watch(f"{PODS}?resourceVersion=9", *events)
        self.driver.watch(f"{PODS}?resourceVersion=9", *events)
        self.assertEqual(self.driver.names(PODS), ["a", "b"])

    def test_a_watch_that_is_behind_another_brings_nothing_back(self) -> None:
        events = [event("ADDED", pod("late", 10)), event("DELETED", pod("late", 11))]
        self.driver.watch(f"{PODS}?resourceVersion=9", *events)
        commits = self.driver.commits
        for frame in events:
            self.driver.watch(f"{PODS}?resourceVersion=9", frame)
            self.assertNotIn("late", self.driver.names(PODS))
        self.assertEqual(self.driver.commits, commits)

    def test_the_same_410_twice(self) -> None:
        gone = b'{"type":"ERROR","object":{"kind":"Status","code":410}}\n'
        for version in (110, 120):
            self.driver.feed(PODS, list_of([pod("a", version)], version))
            self.driver.watch(f"{PODS}?resourceVersion={version}", gone)
            self.assertEqual(self.driver.cache.resume_version(ME, request(PODS)), "")

    def test_one_event_writes_one_object_not_the_list(self) -> None:
        self.driver.feed(PODS, list_of([pod(f"p{number}", 9) for number in range(500)], 20))
        before = self.driver.commits
        self.driver.watch(f"{PODS}?resourceVersion=20", event("MODIFIED", pod("p7", 21)))
        self.assertEqual(self.driver.commits - before, 2)

    def test_what_was_listed_stays_when_a_watch_is_410(self) -> None:
        """The client's version is too old; the list is true at its own. Then a list that is cut short."""
        error = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}\n'
        for version in (1, 9):
            self.driver.watch(f"{PODS}?resourceVersion={version}", error).complete()
            for _ in range(2):
                self.assertEqual(self.driver.names(PODS), ["a", "b"])
                self.driver.reboot()
        cut = self.driver.begin(PODS)
        assert cut is not None
        cut.data([list_of([pod("z", 30)], 31)[:-9]])
        cut.abort()
        self.assertEqual(self.driver.names(PODS), ["a", "b"])
        self.driver.feed(PODS, list_of([pod("z", 30)], 31))
        self.assertEqual(self.driver.names(PODS), ["z"])

    def test_a_watch_from_later_than_the_list(self) -> None:
        """What it shows counts, and the list is complete at its own version: clients go on from there."""
        watch = self.driver.watch(
            f"{PODS}?resourceVersion=20", event("ADDED", pod("c", 21)), event("DELETED", pod("a", 22))
        )
        for _ in range(2):
            self.assertEqual(self.driver.names(PODS), ["b", "c"])
            self.assertEqual(self.version(), "9")
            self.driver.reboot()
        self.driver = Driver()
        self.driver.feed(PODS, list_of([pod("a", 3), pod("b", 4)], 9))
        watch = self.driver.watch(f"{PODS}?resourceVersion=20", event("ADDED", pod("c", 21)))
        self.driver.feed(PODS, list_of([pod("b", 4), pod("c", 21)], 21))
        watch.data([event("ADDED", pod("d", 22))])
        self.assertEqual(self.version(), "22", "the list closes the gap")

    def test_a_watch_from_anywhere_does_not_move_the_version(self) -> None:
        """It begins with what there is, and does not say what was deleted before."""
        for query in ("", "?resourceVersion=0"):
            self.driver.watch(f"{PODS}{query}", event("ADDED", pod("b", 4)), event("ADDED", pod("c", 12)))
            self.assertEqual(self.version(), "9")
            self.assertEqual(self.driver.names(PODS), ["a", "b", "c"])

    def test_an_event_behind_a_newer_get(self) -> None:
        self.driver.feed(f"{PODS}/a", json.dumps(typed(pod("a", 15))).encode())
        self.driver.watch(f"{PODS}?resourceVersion=9", event("MODIFIED", pod("a", 11)))
        self.assertEqual(self.driver.get(f"{PODS}/a")["metadata"]["resourceVersion"], "15")
        self.assertEqual(self.version(), "11")

    def test_deletion_of_an_object_made_anew_since(self) -> None:
        self.driver.feed(f"{PODS}/a", json.dumps(typed(pod("a", 15))).encode())
        self.driver.watch(f"{PODS}?resourceVersion=9", event("DELETED", pod("a", 12)))
        self.assertEqual(self.driver.status(f"{PODS}/a"), 200)

    def test_leaving_a_selector_is_no_deletion(self) -> None:
        selected = f"{PODS}?labelSelector=app"
        self.driver.feed(selected, list_of([pod("a", 3, app="x")], 9))
        self.driver.watch(f"{selected}&resourceVersion=9", event("DELETED", pod("a", 10)))
        self.assertEqual(self.driver.names(selected), [])
        self.assertEqual(self.driver.names(PODS), ["a", "b"])

    def test_deletion_reaches_every_view(self) -> None:
        selected = f"{PODS}?labelSelector=app"
        self.driver.feed(selected, list_of([pod("a", 3, app="x")], 9))
        self.driver.watch(f"{PODS}?resourceVersion=9", event("DELETED", pod("a", 10, app="x")))
        self.assertEqual(self.driver.names(selected), [])

    def test_frames_in_any_pieces(self) -> None:
        stream = b"".join(
            [event("ADDED", pod("c", 10)), event("MODIFIED", pod("c", 11)), event("DELETED", pod("a", 12))]
        )
        for size in (1, 7, 100):
            driver = Driver()
            driver.feed(PODS, list_of([pod("a", 3), pod("b", 4)], 9))
            pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
            driver.watch(f"{PODS}?resourceVersion=9", *pieces)
            self.assertEqual(driver.names(PODS), ["b", "c"])

    def test_a_watch_that_breaks_off_within_an_event(self) -> None:
        recorder = self.driver.watch(
            f"{PODS}?resourceVersion=9", event("ADDED", pod("c", 10)), event("ADDED", pod("d", 11))[:-20]
        )
        recorder.abort()
        self.assertEqual(self.driver.names(PODS), ["a", "b", "c"])
        self.driver.watch(f"{PODS}?resourceVersion=10", event("ADDED", pod("d", 11)))
        self.assertEqual(self.driver.names(PODS), ["a", "b", "c", "d"])

    def test_after_garbage_in_a_watch_the_view_stays_where_it_was(self) -> None:
        recorder = self.driver.watch(f"{PODS}?resourceVersion=9", b"garbage\n")
        recorder.data([event("ADDED", pod("c", 10))])
        recorder.complete()
        self.assertEqual(self.driver.names(PODS), ["a", "b"])
        self.assertEqual(self.driver.cache.resume_version(ME, request(PODS)), "", "to be listed again")
        self.assertEqual([view.watchers for view in self.driver.cache.collections()[0].views.values()], [0])

    def test_endless_event(self) -> None:
        driver = Driver(max_body=1000)
        driver.feed(PODS, list_of([pod("a", 3)], 9))
        driver.watch(f"{PODS}?resourceVersion=9", b"{" * 5000, b"}" * 5000)
        self.assertEqual(driver.names(PODS), ["a"])
        self.assertEqual(driver.cache.resume_version(ME, request(PODS)), "")

    def test_a_list_in_the_place_of_a_watch(self) -> None:
        """A server that does not know the parameter answers with a list, which is no event."""
        self.patch(recorders, "MAX_EVENT", 1000)
        watch = self.driver.watch(f"{PODS}?resourceVersion=9")
        body = list_of([pod(f"p{number}", 10) for number in range(100)], 20)
        for at in range(0, len(body), 100):
            watch.data([body[at : at + 100]])
        self.assertLess(watch._splitter.pending, 1200)  # type: ignore[attr-defined]
        self.assertEqual(self.driver.names(PODS), ["a", "b"])

    def test_endless_initial_events(self) -> None:
        driver = Driver(max_body=1000)
        driver.feed(PODS, list_of([pod("a", 3)], 9))
        frames = [event("ADDED", pod(f"p{number}", 10)) for number in range(50)]
        driver.watch(f"{PODS}?{INITIAL}", *frames, bookmark(20, end=True))
        self.assertEqual(driver.names(PODS), ["a"])

    @settings(max_examples=60)
    @given(
        st.lists(
            st.tuples(st.sampled_from(["ADDED", "MODIFIED", "DELETED"]), st.sampled_from("abcdef")),
            max_size=30,
        ),
        st.integers(0, 30),
    )
    def test_any_history_and_a_reboot_in_it(self, history: list[tuple[str, str]], reboot_at: int) -> None:
        driver = Driver()
        driver.feed(PODS, list_of([], 1))
        truth: dict[str, str] = {}
        recorder = driver.watch(f"{PODS}?resourceVersion=1")
        for number, (type_, name) in enumerate(history):
            version = str(number + 2)
            if type_ == "DELETED":
                if truth.pop(name, None) is None:
                    continue
            else:
                truth[name] = version
            recorder.data([event(type_, pod(name, version))])
            if number == reboot_at:
                driver.reboot()
                recorder = driver.watch(f"{PODS}?resourceVersion={version}")
        found = {
            item["metadata"]["name"]: item["metadata"]["resourceVersion"]
            for item in driver.get(PODS)["items"]
        }
        self.assertEqual(found, truth)
        driver.reboot()
        self.assertEqual(driver.names(PODS), sorted(truth))


class WatchListTests(SynchronousTestCase):
    def check(self, driver: Driver, accept: str) -> None:
        answer = driver.ask(SAMPLES, accept=accept)
        assert isinstance(answer, Answer)
        self.assertEqual(answer.status, 200)
        for name, there in (("c1", True), ("c2", True), ("c3", False), ("kube-root-ca.crt", True)):
            self.assertEqual(driver.status(f"{SAMPLES}/{name}", accept=accept), 200 if there else 404)

    def test_gzip_members_of_a_real_api_server(self) -> None:
        stream = sample("watchlist.json.gz")
        for size in (1, 100, len(stream)):
            driver = Driver()
            pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
            driver.watch(f"{SAMPLES}?{INITIAL}", *pieces, encoding=b"gzip")
            self.check(driver, "application/json")

    def test_protobuf_of_a_real_api_server(self) -> None:
        driver = Driver()
        driver.watch(f"{SAMPLES}?{INITIAL}", sample("watchlist.protobuf"), accept=PROTOBUF)
        self.check(driver, PROTOBUF)
        driver.reboot()
        self.check(driver, PROTOBUF)

    def test_nothing_counts_before_the_end_bookmark(self) -> None:
        driver = Driver()
        driver.feed(PODS, list_of([pod("old", 1)], 2))
        recorder = driver.watch(f"{PODS}?{INITIAL}", event("ADDED", pod("a", 3)))
        self.assertEqual(driver.names(PODS), ["old"])
        recorder.data([bookmark(9, end=True)])
        self.assertEqual(driver.names(PODS), ["a"])
        recorder.data([event("ADDED", pod("b", 10))])
        self.assertEqual(driver.names(PODS), ["a", "b"])

    def test_cut_off_before_the_end_bookmark(self) -> None:
        driver = Driver()
        driver.watch(f"{PODS}?{INITIAL}", event("ADDED", pod("a", 3))).abort()
        self.assertEqual(driver.status(PODS), 503)

    def test_an_empty_one(self) -> None:
        driver = Driver()
        driver.watch(f"{PODS}?{INITIAL}", bookmark(9, end=True))
        self.assertEqual(driver.events(f"{PODS}?{INITIAL}"), [("BOOKMARK", "END", "9")])

    def test_broken_gzip(self) -> None:
        driver = Driver()
        pieces = [gzipped([event("ADDED", pod("a", 3))]), b"garbage", gzipped([bookmark(9, end=True)])]
        driver.watch(f"{PODS}?{INITIAL}", *pieces, encoding=b"gzip")
        self.assertEqual(driver.status(PODS), 503)


class OfflineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.driver = Driver()
        self.driver.feed(PODS, list_of([pod("a", 3, app="x"), pod("b", 4)], 9))

    def test_watch_list(self) -> None:
        wanted = [("ADDED", "a", "3"), ("ADDED", "b", "4"), ("BOOKMARK", "END", "9")]
        self.assertEqual(self.driver.events(f"{PODS}?{INITIAL}"), wanted)
        self.driver.reboot()
        self.assertEqual(sorted(self.driver.events(f"{PODS}?{INITIAL}")), sorted(wanted))

    def test_watch_from_where_the_client_is(self) -> None:
        self.assertEqual(self.driver.events(f"{PODS}?resourceVersion=9"), [])
        self.assertEqual(self.driver.events(f"{PODS}?resourceVersion=20"), [])
        self.assertEqual(len(self.driver.events(f"{PODS}?resourceVersion=0")), 2)
        self.assertEqual(len(self.driver.events(PODS)), 2)

    def test_watch_from_before(self) -> None:
        self.assertEqual(self.driver.status(f"{PODS}?watch=true&resourceVersion=5"), 410)
        frames = [
            event("MODIFIED", pod("b", 10)),
            event("DELETED", pod("a", 12)),
            event("ADDED", pod("c", 11)),
        ]
        self.driver.watch(f"{PODS}?resourceVersion=9", frames[0], frames[2], frames[1])
        self.assertEqual(
            self.driver.events(f"{PODS}?resourceVersion=9"),
            [("ADDED", "b", "10"), ("ADDED", "c", "11"), ("DELETED", "a", "12")],
        )
        self.assertEqual(self.driver.events(f"{PODS}?resourceVersion=11"), [("DELETED", "a", "12")])

    def test_watch_of_what_a_wider_view_holds(self) -> None:
        self.assertEqual(
            self.driver.events(f"{PODS}?labelSelector=app&{INITIAL}"),
            [("ADDED", "a", "3"), ("BOOKMARK", "END", "9")],
        )
        one = "/api/v1/watch/namespaces/default/pods/b?resourceVersion=0"
        self.assertEqual(self.driver.events(one), [("ADDED", "b", "4")])

    def test_what_left_a_selector_since_is_told_as_deleted(self) -> None:
        self.driver.watch(
            f"{PODS}?resourceVersion=9",
            event("MODIFIED", pod("a", 10, app="y")),
            event("MODIFIED", pod("b", 11, app="x")),
        )
        self.assertEqual(
            self.driver.events(f"{PODS}?resourceVersion=9&labelSelector=app%3Dx"),
            [("DELETED", "a", "10"), ("ADDED", "b", "11")],
        )
        self.assertEqual(
            self.driver.events(f"{PODS}?resourceVersion=9&fieldSelector=metadata.name%3Da"),
            [("ADDED", "a", "10")],
        )

    def test_bookmarks_and_timeout(self) -> None:
        answer = self.driver.ask(f"{PODS}?watch=true&resourceVersion=9&timeoutSeconds=77")
        assert isinstance(answer, WatchAnswer)
        self.assertEqual(answer.timeout, 77.0)
        self.assertIsNone(answer.bookmark)
        answer = self.driver.ask(f"{PODS}?watch=true&resourceVersion=9&allowWatchBookmarks=true")
        assert isinstance(answer, WatchAnswer)
        assert answer.bookmark is not None
        made = json.loads(answer.bookmark)
        self.assertEqual((made["type"], made["object"]["kind"]), ("BOOKMARK", "Pod"))
        self.assertEqual(made["object"]["metadata"]["resourceVersion"], "9")

    def bookmarks(self, query: str) -> tuple[list[str], str]:
        """The versions of the events that a watch begins with, and of the bookmarks that follow."""
        answer = self.driver.ask(f"{PODS}?watch=true&allowWatchBookmarks=true&{query}")
        assert isinstance(answer, WatchAnswer)
        assert answer.bookmark is not None
        frames = [json.loads(frame)["object"]["metadata"] for frame in [*answer.frames, answer.bookmark]]
        return [meta["resourceVersion"] for meta in frames[:-1]], frames[-1]["resourceVersion"]

    def test_a_client_that_saw_more_than_was_kept(self) -> None:
        """It stays where it is: an earlier version would have it see the same changes twice."""
        self.assertEqual(self.bookmarks("resourceVersion=12"), ([], "12"))
        for query, wanted in (("resourceVersion=9", 200), ("resourceVersion=12", 504)):
            self.assertEqual(self.driver.status(f"{PODS}?watch=true&{INITIAL}&{query}"), wanted)

    def test_a_client_is_where_the_view_is_after_the_events(self) -> None:
        """The own write is later than changes of others that are not known."""
        self.driver.write("POST", PODS, json.dumps(typed(pod("c", 20))).encode())
        self.assertEqual(self.bookmarks("resourceVersion=9"), (["20", "9"], "9"))
        self.driver.write("DELETE", f"{PODS}/a", b'{"kind":"Status","apiVersion":"v1"}')
        self.assertEqual(self.bookmarks("resourceVersion=9")[0][-1], "9")

    def test_initial_events_without_bookmarks(self) -> None:
        """The API server does not tell their end then."""
        target = f"{PODS}?{INITIAL}".replace("&allowWatchBookmarks=true", "")
        self.assertEqual(self.driver.events(target), [("ADDED", "a", "3"), ("ADDED", "b", "4")])

    def test_a_partial_view_is_not_watched(self) -> None:
        driver = Driver()
        driver.watch(PODS, event("ADDED", pod("a", 3)))
        self.assertEqual(driver.status(f"{PODS}?watch=true"), 503)
        self.assertEqual(driver.status(f"{PODS}/a"), 200)
