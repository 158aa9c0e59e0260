"""What comes late, from an API server that is behind or over a slow watch, undoes nothing that was shown."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from tests.liteapiserver.cache.driver import PODS, Driver, event, list_of, pod, typed

ALL = "/api/v1/pods"
GONE = b'{"kind":"Status","reason":"NotFound","code":404}'


class StaleTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.driver = Driver()
        self.feed = self.driver.feed

    def test_a_get_of_what_a_list_showed_to_be_gone(self) -> None:
        self.feed(PODS, list_of([], 13))
        self.feed(f"{PODS}/a?resourceVersion=0", json.dumps(typed(pod("a", 11))).encode())
        self.assertEqual(self.driver.status(f"{PODS}/a"), 404)
        self.feed(f"{PODS}/a", json.dumps(typed(pod("a", 14))).encode())
        self.assertEqual(self.driver.status(f"{PODS}/a"), 200)

    def test_a_list_of_a_namespace_behind_one_of_all(self) -> None:
        self.feed(ALL, list_of([], 21))
        self.feed(f"{PODS}?resourceVersion=0", list_of([pod("a", 19)], 20))
        self.assertEqual(self.driver.status(f"{PODS}/a"), 404)
        self.assertEqual(self.driver.names(PODS), [])

    def test_a_list_of_all_behind_one_of_a_namespace(self) -> None:
        self.feed(PODS, list_of([], 21))
        self.feed(f"{ALL}?resourceVersion=0", list_of([pod("a", 19), pod("a", 19, "other")], 20))
        self.assertEqual(len(self.driver.names(ALL)), 1)

    def test_a_list_by_labels_behind_a_write(self) -> None:
        self.feed(ALL, list_of([], 20))
        self.driver.write("POST", PODS, json.dumps(typed(pod("a", 27, app="x"))).encode())
        self.feed(f"{PODS}?labelSelector=app%3Dx&resourceVersion=0", list_of([], 25))
        self.assertEqual(self.driver.names(f"{PODS}?labelSelector=app%3Dx"), ["a"])

    def test_a_404_while_a_watch_is_behind(self) -> None:
        self.feed(PODS, list_of([pod("a", 16)], 16))
        self.driver.watch(f"{PODS}?resourceVersion=16")
        self.feed(f"{PODS}/a", GONE, 404)
        self.assertEqual(self.driver.status(f"{PODS}/a"), 404)
        self.assertEqual(self.driver.names(PODS), [])

    def test_a_deletion_of_what_only_a_write_has_shown(self) -> None:
        self.feed(f"{PODS}/other", json.dumps(typed(pod("other", 10))).encode())
        self.driver.write("POST", PODS, json.dumps(typed(pod("a", 16))).encode())
        self.driver.watch(f"{PODS}?resourceVersion=16", event("DELETED", pod("a", 23)))
        self.assertNotEqual(self.driver.status(f"{PODS}/a"), 200)

    def test_events_from_before_a_list(self) -> None:
        watch = self.driver.watch(f"{PODS}?resourceVersion=10")
        self.feed(PODS, list_of([], 15))
        watch.data([event("ADDED", pod("a", 11))])
        self.assertEqual(self.driver.names(PODS), [])
        self.assertEqual(self.driver.status(f"{PODS}/a"), 404)
