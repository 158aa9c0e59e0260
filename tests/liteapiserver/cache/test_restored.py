"""A cluster that was restored from a backup begins anew, and what may be old undoes nothing."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from tests.liteapiserver.cache.driver import (
    JSON,
    PODS,
    Driver,
    bookmark,
    event,
    list_of,
    pod,
    typed,
)


class RestoredTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.driver = Driver()
        self.feed = self.driver.feed

    def test_a_restored_cluster_begins_anew(self) -> None:
        self.feed(PODS, list_of([pod("a", 300), pod("b", 400)], 900))
        self.feed(PODS, list_of([pod("a", 3)], 5))
        self.assertEqual(self.driver.names(PODS), ["a"])
        self.assertEqual(self.driver.get(f"{PODS}/a")["metadata"]["resourceVersion"], "3")

    def test_a_restored_cluster_in_every_view_and_form(self) -> None:
        partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
        other = "/api/v1/namespaces/other/pods"
        self.feed(PODS, list_of([pod("a", 300), pod("b", 400)], 900))
        self.feed(other, list_of([pod("z", 400, "other")], 900))
        self.feed(PODS, list_of([pod("b", 400)], 900, "PartialObjectMetadataList"), accept=partial)
        self.feed(f"{PODS}/gone", b'{"kind":"Status","reason":"NotFound","code":404}', 404)
        self.feed(PODS, list_of([pod("a", 3)], 5))
        for _ in range(2):
            self.assertEqual(self.driver.names(PODS), ["a"])
            # Nothing from before is mixed with what is now.
            self.assertEqual(self.driver.status(other), 503)
            self.assertEqual(self.driver.status(f"{other}/z"), 503)
            self.assertEqual(self.driver.status(PODS, accept=partial), 503)
            self.driver.reboot()
        self.feed(f"{PODS}/gone", json.dumps(typed(pod("gone", 6))).encode())
        self.assertEqual(self.driver.status(f"{PODS}/gone"), 200)
        self.feed(other, list_of([pod("y", 4, "other")], 6))
        self.assertEqual(self.driver.names(other), ["y"])

    def test_a_restored_cluster_seen_by_a_get(self) -> None:
        a, b = json.dumps(typed(pod("a", 300))).encode(), json.dumps(typed(pod("b", 400))).encode()
        self.feed(f"{PODS}/a", a)
        self.feed(f"{PODS}/b", b, accept=f"{JSON};as=PartialObjectMetadata;v=v1;g=meta.k8s.io,{JSON}")
        # What overtakes a get on its way is newer than it, and no sign of anything.
        late = self.driver.begin(f"{PODS}/a")
        assert late is not None
        self.feed(f"{PODS}/a", json.dumps(typed(pod("a", 500))).encode())
        late.data([a])
        late.complete()
        self.assertEqual(self.driver.get(f"{PODS}/a")["metadata"]["resourceVersion"], "500")
        # Neither is an answer that is allowed to be old.
        self.feed(f"{PODS}/a?resourceVersion=0", a)
        self.assertEqual(self.driver.get(f"{PODS}/a")["metadata"]["resourceVersion"], "500")
        self.feed(f"{PODS}/a", a)
        for _ in range(2):
            self.assertEqual(self.driver.get(f"{PODS}/a")["metadata"]["resourceVersion"], "300")
            self.assertEqual(self.driver.status(f"{PODS}/b"), 503)  # it may not be there, either
            self.driver.reboot()

    def test_a_get_of_what_is_not_stored_in_etcd(self) -> None:
        metrics = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods"
        self.feed(metrics, list_of([pod("a", 300)], 300, "PodMetricsList"))
        self.feed(f"{metrics}/a", b'{"kind":"PodMetrics","metadata":{"name":"a","namespace":"default"}}')
        self.assertEqual(self.driver.names(metrics), ["a"])

    def test_a_restored_cluster_seen_by_a_watch_list(self) -> None:
        self.feed(PODS, list_of([pod("a", 300), pod("b", 400)], 900))
        initial = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        self.driver.watch(f"{PODS}?{initial}", event("ADDED", pod("a", 3)), bookmark(5, end=True))
        self.assertEqual(self.driver.names(PODS), ["a"])
        self.driver.watch(f"{PODS}?resourceVersion=5", event("ADDED", pod("c", 6)))
        self.assertEqual(self.driver.names(PODS), ["a", "c"])

    def test_a_watch_list_that_may_be_old_undoes_nothing(self) -> None:
        self.feed(PODS, list_of([pod("a", 300)], 900))
        initial = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=0"
        self.driver.watch(f"{PODS}?{initial}", event("ADDED", pod("b", 3)), bookmark(5, end=True))
        self.assertEqual(self.driver.names(PODS), ["a"])
