"""Which objects a view holds, what it proves of others, and that a reboot changes neither."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from superedge.liteapiserver.cache.answers import Answer
from superedge.liteapiserver.cache.recorders import PagedLists
from tests.liteapiserver.cache.driver import (
    ME,
    PODS,
    Driver,
    bookmark,
    event,
    gzipped,
    list_of,
    pod,
    typed,
)

LABELLED = f"{PODS}?labelSelector=app%3Dx"
ON_NODE = f"{PODS}?fieldSelector=spec.nodeName%3Dn1"
INITIAL = f"{PODS}?sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
OTHER = "/api/v1/namespaces/default/configmaps"


class ViewTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.driver = Driver()
        self.feed = self.driver.feed

    def before_and_after_a_reboot(self, check: Callable[[], None]) -> None:
        check()
        self.driver.reboot()
        check()

    def version(self, target: str) -> str:
        return str(self.driver.get(target)["metadata"]["resourceVersion"])

    def status_from(self, version: int, target: str = PODS) -> int:
        return self.driver.status(
            f"{target}{'&' if '?' in target else '?'}watch=true&resourceVersion={version}"
        )


class SelectedViewTests(ViewTests):
    def test_what_a_list_by_a_selector_lacks_is_not_deleted(self) -> None:
        """It may have another label, or run on another node."""
        for selected in (LABELLED, ON_NODE, f"{PODS}?fieldSelector=metadata.name%21%3Da"):
            self.setUp()
            self.feed(PODS, list_of([pod("a", 3, app="x"), pod("b", 4)], 9))
            self.feed(selected, list_of([pod("a", 3, app="x")], 9))
            self.feed(selected, list_of([], 12))

            def check(selected: str = selected) -> None:
                self.assertEqual(self.driver.names(PODS), ["a", "b"], selected)
                self.assertEqual(self.driver.names(selected), [], selected)
                self.assertEqual(self.driver.status(f"{PODS}/a"), 200)

            self.before_and_after_a_reboot(check)

    def test_what_a_list_by_names_lacks_is_deleted(self) -> None:
        for fields in ("metadata.name%3Da", "metadata.namespace%3D%3Ddefault,metadata.name%3Da"):
            self.setUp()
            self.feed(PODS, list_of([pod("a", 3), pod("b", 4)], 9))
            self.feed(f"{PODS}?fieldSelector={fields}", list_of([pod("a", 3)], 9))
            self.feed(f"{PODS}?fieldSelector={fields}", list_of([], 12))
            self.before_and_after_a_reboot(lambda: self.assertEqual(self.driver.names(PODS), ["b"]))

    def test_what_left_the_only_view_that_showed_it_is_not_known(self) -> None:
        """It is there or not: neither the object as it was nor a 404 may be told."""
        for begin in (
            lambda: self.feed(LABELLED, list_of([pod("b", 4, app="x")], 12)),
            lambda: self.driver.watch(f"{LABELLED}&resourceVersion=9", event("DELETED", pod("a", 10))),
        ):
            self.setUp()
            self.feed(LABELLED, list_of([pod("a", 3, app="x"), pod("b", 4, app="x")], 9))
            begin()

            def check() -> None:
                self.assertEqual(self.driver.names(LABELLED), ["b"])
                self.assertEqual(self.driver.status(f"{PODS}/a"), 503)

            self.before_and_after_a_reboot(check)

    def test_what_left_a_view_beside_an_older_list(self) -> None:
        """The list is from before the object was made, and proves nothing."""
        self.feed(PODS, list_of([], 5))
        one = event("ADDED", pod("a", 7, app="x")), event("DELETED", pod("a", 8, app="x"))
        self.driver.watch(f"{LABELLED}&resourceVersion=5", *one)
        self.assertEqual(self.driver.status(f"{PODS}/a"), 503)
        self.assertEqual(self.driver.names(PODS), [])
        self.feed(f"{PODS}/a", b'{"kind":"Status","reason":"NotFound","code":404}', 404)
        self.assertEqual(self.driver.status(f"{PODS}/a"), 404)

    def test_a_change_that_a_list_brought(self) -> None:
        self.feed(LABELLED, list_of([pod("a", 3, app="x")], 9))
        self.feed(f"{PODS}?labelSelector=app%3Dy", list_of([pod("a", 15, app="y")], 20))
        self.assertEqual(self.driver.events(f"{LABELLED}&resourceVersion=9"), [("DELETED", "a", "15")])
        behind = f"{PODS}?labelSelector=app%3Dx,%21tier"
        self.feed(f"{behind}&resourceVersion=0", list_of([pod("a", 3, app="x")], 9))
        self.driver.watch(f"{LABELLED}&resourceVersion=9", event("MODIFIED", pod("a", 12, app="x")))

        def check() -> None:
            for target in (LABELLED, behind):
                self.assertEqual(self.driver.names(target), [], target)

        self.before_and_after_a_reboot(check)

    def test_a_deletion_that_a_read_showed(self) -> None:
        """Who watches by labels is told."""
        gone = b'{"kind":"Status","reason":"NotFound","code":404}'
        named = f"{PODS}?fieldSelector=metadata.name%3Da"
        for show in (
            lambda: self.feed(named, list_of([], 15)),
            lambda: self.feed(f"{PODS}/a", gone, 404),
        ):
            self.setUp()
            for target in (LABELLED, named):
                self.feed(target, list_of([pod("a", 3, app="x")], 9))
            show()
            self.assertEqual(self.driver.events(f"{LABELLED}&resourceVersion=9"), [("DELETED", "a", "3")])

    def test_a_deletion_of_what_a_late_list_shows(self) -> None:
        self.feed(PODS, list_of([pod("a", 3)], 9))
        late = self.driver.begin(PODS)
        assert late is not None
        self.driver.write("DELETE", f"{PODS}/a", json.dumps(typed(pod("a", 20))).encode())
        late.data([list_of([pod("a", 3)], 12)])
        late.complete()
        self.assertEqual(self.driver.names(PODS), [])
        self.assertEqual(self.driver.events(f"{PODS}?resourceVersion=12"), [("DELETED", "a", "3")])

    def test_a_change_that_another_view_brought(self) -> None:
        """An object that no longer has the labels of a list is not in it, and a client is told so."""
        self.feed(LABELLED, list_of([pod("a", 3, app="x"), pod("b", 4, app="x")], 9))
        other = f"{PODS}?labelSelector=tier%3Dweb"
        self.feed(other, list_of([pod("a", 3, tier="web")], 9))
        self.driver.watch(f"{other}&resourceVersion=9", event("MODIFIED", pod("a", 15, app="y", tier="web")))
        self.assertEqual(self.driver.events(f"{LABELLED}&resourceVersion=9"), [("DELETED", "a", "15")])

        def check() -> None:
            self.assertEqual(self.driver.names(LABELLED), ["b"])
            self.assertEqual(self.driver.names(other), ["a"])

        self.before_and_after_a_reboot(check)

    def test_an_object_of_two_views_that_leaves_one(self) -> None:
        other = f"{PODS}?labelSelector=tier%3Dweb"
        for target in (LABELLED, other):
            self.feed(target, list_of([pod("a", 3, app="x", tier="web")], 9))
        self.driver.watch(f"{LABELLED}&resourceVersion=9", event("DELETED", pod("a", 10, tier="web")))

        def check() -> None:
            self.assertEqual(self.driver.names(LABELLED), [])
            self.assertEqual(self.driver.names(other), ["a"])

        self.before_and_after_a_reboot(check)

    def test_an_older_list_leaves_what_is_newer(self) -> None:
        """It was asked for before the watch brought what it lacks."""
        late = self.driver.begin(PODS)
        assert late is not None
        self.feed(f"{PODS}/a", json.dumps(typed(pod("a", 15))).encode())
        late.data([list_of([pod("b", 4)], 12)])
        late.complete()
        self.before_and_after_a_reboot(lambda: self.assertEqual(self.driver.status(f"{PODS}/a"), 200))
        self.before_and_after_a_reboot(lambda: self.assertEqual(self.driver.names(PODS), ["a", "b"]))

    def test_an_object_that_is_newer_than_a_list_joins_it(self) -> None:
        self.feed(PODS, list_of([pod("a", 3, app="x"), pod("b", 4)], 9))
        self.feed(LABELLED, list_of([pod("a", 3, app="x")], 9))
        self.feed(f"{PODS}/c", json.dumps(typed(pod("c", 15, app="x"))).encode())
        self.feed(f"{PODS}/a", json.dumps(typed(pod("a", 16))).encode())

        def check() -> None:
            self.assertEqual(self.driver.names(PODS), ["a", "b", "c"])
            self.assertEqual(self.driver.names(LABELLED), ["c"])
            self.assertEqual(self.version(PODS), "9")

        self.before_and_after_a_reboot(check)

    def test_an_older_list_does_not_undo_what_a_watch_told(self) -> None:
        """A list that was asked for before the watch began, and is answered after it told of a deletion."""
        late = self.driver.begin(PODS)
        assert late is not None
        self.driver.watch(f"{PODS}?resourceVersion=20", event("DELETED", pod("a", 21)), bookmark(22))
        late.data([list_of([pod("a", 4)], 12)])
        late.complete()
        self.before_and_after_a_reboot(lambda: self.assertEqual(self.driver.status(PODS), 503))


class ReplayTests(ViewTests):
    def test_deletions_that_a_client_has_seen_are_not_told_again(self) -> None:
        self.feed(PODS, list_of([pod(name, 3) for name in "abcd"], 9))
        frames = [event("DELETED", pod(name, 10 + at)) for at, name in enumerate("abc")]
        self.driver.watch(f"{PODS}?resourceVersion=9", *frames)
        for version, wanted in ((9, "abc"), (10, "bc"), (11, "c"), (12, "")):
            found = self.driver.events(f"{PODS}?resourceVersion={version}")
            self.assertEqual([name for _, name, _ in found], list(wanted))

    def test_deletions_of_other_namespaces_and_names_are_not_told(self) -> None:
        every = "/api/v1/pods"
        self.feed(every, list_of([pod("a", 3), pod("a", 3, "other")], 9))
        self.driver.watch(
            f"{every}?resourceVersion=9",
            event("DELETED", pod("a", 10)),
            event("DELETED", pod("a", 11, "other")),
        )
        self.assertEqual(self.driver.events(f"{PODS}?resourceVersion=9"), [("DELETED", "a", "10")])
        self.assertEqual(self.driver.events("/api/v1/watch/namespaces/default/pods/b?resourceVersion=9"), [])

    def test_what_left_a_view_by_a_selector(self) -> None:
        self.feed(LABELLED, list_of([pod("a", 3, app="x"), pod("b", 4, app="x")], 9))
        self.driver.watch(f"{LABELLED}&resourceVersion=9", event("DELETED", pod("a", 10)))
        self.assertEqual(self.driver.events(f"{LABELLED}&resourceVersion=9"), [("DELETED", "a", "10")])
        self.assertEqual(self.driver.events(f"{LABELLED}&resourceVersion=10"), [])

    def test_from_before_a_list_that_came_since(self) -> None:
        """What was deleted between the two is not known."""
        self.feed(PODS, list_of([pod("a", 3)], 9))
        self.driver.watch(f"{PODS}?resourceVersion=9", event("DELETED", pod("a", 10)))
        self.assertEqual(self.status_from(9), 200)
        self.feed(PODS, list_of([pod("b", 14)], 20))
        self.assertEqual(self.status_from(10), 410)
        self.assertEqual(self.driver.events(f"{PODS}?resourceVersion=20"), [])

    def test_from_before_a_reboot(self) -> None:
        """Deletions are not stored: a client that may have missed one lists again."""
        self.feed(PODS, list_of([pod("a", 3)], 9))
        self.driver.watch(f"{PODS}?resourceVersion=9", event("DELETED", pod("a", 10)), bookmark(12))
        self.assertEqual(len(self.driver.events(f"{PODS}?resourceVersion=9")), 1)
        self.driver.reboot()
        self.assertEqual(self.status_from(9), 410)
        self.assertEqual(self.status_from(11), 410)
        self.assertEqual(self.driver.events(f"{PODS}?resourceVersion=12"), [])

    def test_more_deletions_than_are_remembered(self) -> None:
        self.feed(PODS, list_of([pod(f"p{number:03}", 3) for number in range(300)], 9))
        frames = [event("DELETED", pod(f"p{number:03}", 10 + number)) for number in range(300)]
        self.driver.watch(f"{PODS}?resourceVersion=9", *frames)
        self.assertEqual(self.status_from(9), 410)
        (first, *_) = (version for version in range(9, 310) if self.status_from(version) == 200)
        self.assertEqual(len(self.driver.events(f"{PODS}?resourceVersion={first}")), 309 - first)


class PageTests(ViewTests):
    def test_lists_that_nobody_reads_to_their_end(self) -> None:
        """The oldest of many gives way; the others go on."""
        for number in range(PagedLists.MAX_LISTS + 1):
            self.feed(f"{PODS}?limit=1&labelSelector=n{number}", list_of([pod("a", 3)], 9, token="t"))
        for number, wanted in ((0, 503), (1, 200), (PagedLists.MAX_LISTS, 200)):
            selected = f"{PODS}?limit=1&labelSelector=n{number}"
            self.feed(f"{selected}&continue=t", list_of([pod("b", 4)], 9))
            self.assertEqual(self.driver.status(selected), wanted, number)

    def page(self, name: str, *tokens: str, size: int = 0, identity: str = ME) -> None:
        """A page of a list by the label that is its name; ``tokens`` ask for it and for the next."""
        before, after = tokens
        body = list_of([pod(f"{name}-{before or after}", 3, padding="x" * size)], 9, token=after)
        target = f"{PODS}?limit=1&labelSelector={name}{f'&continue={before}' if before else ''}"
        self.feed(target, body, identity=identity)

    def test_pages_are_bounded_in_bytes_for_each_identity(self) -> None:
        self.driver = Driver(max_body=10_000)
        self.feed = self.driver.feed
        self.page("other", "", "t", size=6000, identity="cert:other")
        self.page("a", "", "t", size=6000)
        self.page("b", "", "t", size=6000)
        self.page("long", "", "t1", size=4000)
        self.page("long", "t1", "t2", size=4000)
        self.page("long", "t2", "t3", size=4000)
        self.page("long", "t3", "", size=10)
        self.page("b", "t", "", size=10)
        self.page("a", "t", "", size=10)
        self.page("other", "t", "", size=10, identity="cert:other")
        found = [self.driver.status(f"{PODS}?labelSelector={name}") for name in ("a", "b", "long")]
        self.assertEqual(found, [503, 503, 503])
        self.assertEqual(self.driver.status(f"{PODS}?labelSelector=other", identity="cert:other"), 200)

    def test_an_identity_has_its_own_unfinished_lists_give_way(self) -> None:
        self.page("other", "", "t", identity="cert:other")
        for number in range(PagedLists.MAX_LISTS * 2):
            self.page(f"n{number}", "", "t")
        self.page("other", "t", "", identity="cert:other")
        self.assertEqual(self.driver.status(f"{PODS}?labelSelector=other", identity="cert:other"), 200)


class InitialEventsTests(ViewTests):
    def test_an_ordinary_bookmark_is_not_the_end(self) -> None:
        recorder = self.driver.watch(INITIAL, event("ADDED", pod("a", 3)), bookmark(5))
        self.assertEqual(self.driver.status(PODS), 503)
        self.assertFalse(recorder.resumable)
        recorder.data([event("ADDED", pod("b", 4)), bookmark(9, end=True)])
        self.assertTrue(recorder.resumable)
        self.assertEqual((self.driver.names(PODS), self.version(PODS)), (["a", "b"], "9"))

    def test_changes_among_them(self) -> None:
        self.driver.watch(
            INITIAL,
            event("ADDED", pod("a", 3)),
            event("ADDED", pod("b", 4)),
            event("MODIFIED", pod("a", 6)),
            event("MODIFIED", pod("c", 7)),
            event("DELETED", pod("b", 8)),
            event("DELETED", pod("never", 8)),
            bookmark(9, end=True),
        )
        self.assertEqual(self.driver.names(PODS), ["a", "c"])
        self.assertEqual(self.driver.get(f"{PODS}/a")["metadata"]["resourceVersion"], "6")

    def test_after_one_that_could_not_be_read_nothing_is_complete(self) -> None:
        recorder = self.driver.watch(INITIAL, event("ADDED", pod("a", 3)), b"garbage\n")
        recorder.data([event("ADDED", pod("c", 4)), bookmark(9, end=True)])
        self.assertEqual(self.driver.status(PODS), 503)


class RestoredTests(ViewTests):
    def test_after_a_reboot(self) -> None:
        self.feed(PODS, list_of([pod("a", 300)], 900))
        self.driver.reboot()
        # Later than every object, earlier than what was shown.
        self.feed(LABELLED, list_of([], 600))
        self.assertEqual(self.driver.names(LABELLED), [])
        self.assertEqual(self.driver.status(PODS), 503)
        self.assertEqual(self.driver.status(f"{PODS}/a"), 503)

    def test_by_an_object_alone_and_after_a_reboot(self) -> None:
        self.feed(f"{PODS}/a", json.dumps(typed(pod("a", 300))).encode())
        self.driver.reboot()
        self.feed(PODS, list_of([pod("b", 4)], 100))
        self.assertEqual(self.driver.names(PODS), ["b"])
        self.assertEqual(self.driver.status(f"{PODS}/a"), 404)

    def test_told_by_the_history_of_one_resource(self) -> None:
        self.feed(PODS, list_of([pod("a", 300)], 900))
        self.feed("/apis/apps/v1/namespaces/default/pods", list_of([pod("a", 300)], 900))
        self.feed(OTHER, list_of([pod("c", 300)], 900, "ConfigMapList"))
        self.driver.cache.cluster_restored("", "pods", 900)
        self.assertEqual(self.driver.names(PODS), ["a"])
        self.driver.cache.cluster_restored("", "pods", 899)

        def check() -> None:
            self.assertEqual(self.driver.status(PODS), 503)
            self.assertEqual(self.driver.names("/apis/apps/v1/namespaces/default/pods"), ["a"])
            self.assertEqual(self.driver.names(OTHER), ["c"])

        self.before_and_after_a_reboot(check)


class SizeTests(ViewTests):
    def test_bytes_are_those_of_objects_and_names(self) -> None:
        self.feed(f"{PODS}/missing", b'{"kind":"Status","reason":"NotFound"}', 404)

        def check() -> None:
            (collection,) = self.driver.cache.collections()
            wanted = sum(len(stored.item.raw) for stored in collection.objects.values())
            names = [*collection.objects, *collection.absent, *collection.views]
            wanted += sum(len(part) for name in names for part in name)
            self.assertEqual(collection.size, wanted)

        self.feed(PODS, list_of([pod("a", 3), pod("b", 4)], 9))
        self.driver.watch(
            f"{PODS}?resourceVersion=9",
            event("MODIFIED", pod("a", 10, long="x" * 100)),
            event("ADDED", pod("c", 11)),
            event("DELETED", pod("b", 12)),
        )
        self.feed(f"{PODS}/c", json.dumps({**typed(pod("c", 11)), "again": True}).encode())
        self.before_and_after_a_reboot(check)
        self.feed(PODS, list_of([pod("c", 13)], 20))
        self.before_and_after_a_reboot(check)


class DocumentTests(ViewTests):
    def test_those_of_one_identity_cost_others_nothing(self) -> None:
        def lines(identity: str) -> int:
            """Lines that run for what looks for an identity's documents."""
            count = 0

            def trace(*_: Any) -> Any:
                nonlocal count
                count += 1
                return trace

            before = sys.gettrace()
            sys.settrace(trace)
            try:
                self.driver.write("PATCH", f"{PODS}/a", json.dumps(typed(pod("a", 20))).encode())
                self.driver.begin("/apis", 304, etag=b'"abc"', identity=identity)
                self.feed("/apis/none.example", b"404 page not found\n", 404, identity=identity)
                self.driver.status("/openapi/v2", identity=identity)
            finally:
                sys.settrace(before)
            return count

        self.feed(PODS, list_of([pod("a", 3)], 9))
        lines("me")
        alone = lines("me")
        for number in range(300):
            self.feed(f"/apis/{number}.example", b"{}", identity="token:other@k8s")
        self.assertEqual(lines("me"), alone)

    def test_of_one_identity_no_other_hears(self) -> None:
        hashed = "/openapi/v3/apis/apps/v1?hash="
        for identity in ("one", "two"):
            self.feed(f"{hashed}A", b"1", identity=identity)
            self.feed("/apis", b"{}", etag=b'"abc"', identity=identity)
        self.driver.now += 500
        self.feed(f"{hashed}B", b"2", identity="one")
        self.driver.begin("/apis", 304, etag=b'"abc"', identity="one")
        self.assertEqual(self.driver.status(f"{hashed}A", identity="one"), 503)
        self.assertEqual(self.driver.get(f"{hashed}A", identity="two"), 1)
        for identity, age in (("one", b"0"), ("two", b"500")):
            answer = self.driver.ask("/apis", identity=identity)
            assert isinstance(answer, Answer)
            self.assertEqual(dict(answer.headers)[b"Age"], age)

    def test_a_404_is_about_one_path_of_one_identity(self) -> None:
        for identity in ("one", "two"):
            for path in ("/apis/a.example", "/apis/b.example"):
                self.feed(path, b"{}", identity=identity)
        self.feed("/apis/a.example", b"404 page not found\n", 404, identity="one")

        def check() -> None:
            for identity, path, wanted in (
                ("one", "/apis/a.example", 503),
                ("one", "/apis/b.example", 200),
                ("two", "/apis/a.example", 200),
                ("two", "/apis/b.example", 200),
            ):
                self.assertEqual(self.driver.status(path, identity=identity), wanted)

        self.before_and_after_a_reboot(check)

    def test_which_paths_are_kept(self) -> None:
        for path in ("/api", "/apis", "/api/v1", "/apis/apps", "/apis/apps/v1", "/version", "/openapi/v2"):
            self.assertIsNotNone(self.driver.begin(path), path)
        for path in (
            "/",
            "/apisx",
            "/versions",
            "/livez",
            "/api/v1/watch/namespaces/default/pods/a/status",
            f"{PODS}/a/eviction",
        ):
            self.assertIsNone(self.driver.begin(path), path)

    def test_what_is_no_gzip(self) -> None:
        self.feed("/apis", gzipped([b"{}"]), encoding=b"gzip")
        for body in (b"{}", gzipped([b"[]"])[:10] + b"\0" * 20, b""):
            self.feed("/apis", body, encoding=b"gzip")
            self.assertEqual(self.driver.get("/apis"), {})

    def test_what_is_not_whole(self) -> None:
        for path, body in (("/apis", b'{"a": [1]}'), ("/version", b'{"major": "1"}')):
            self.feed(path, body)
            for end in range(len(body)):
                self.feed(path, body[:end])
            self.feed(path, b"<html>")
            self.assertEqual(self.driver.get(path), json.loads(body))
        schema = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
        self.feed("/openapi/v2", b"\x0a\x01", accept=schema)
        self.feed("/openapi/v2", b"", accept=schema)
        answer = self.driver.ask("/openapi/v2", accept=schema)
        assert isinstance(answer, Answer)
        self.assertEqual(answer.body, b"\x0a\x01")
