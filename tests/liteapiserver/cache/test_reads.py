"""What clients read comes back, and nothing else does. Each known failure of a peer has a test."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from superedge.config.liteapiserver import CacheRuleConfig
from superedge.kube.media import PROTOBUF
from superedge.kube.objects import Item
from superedge.liteapiserver.cache.answers import Answer
from tests.kube.test_codecs import sample
from tests.liteapiserver.cache.driver import (
    JSON,
    ME,
    PODS,
    TABLE,
    Driver,
    bookmark,
    event,
    gzipped,
    list_of,
    pod,
    request,
    row,
    table,
    typed,
)


class ReadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.driver = Driver()
        self.feed = self.driver.feed

    def test_a_list_comes_back_with_its_bytes(self) -> None:
        item = b'{"metadata":{"name":"a","namespace":"default","resourceVersion":"3"},"odd":1.10 }'
        body = b'{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"9"},"items":[%b]}' % item
        self.feed(PODS, body)
        answer = self.driver.ask(PODS)
        assert isinstance(answer, Answer)
        self.assertIn(item, answer.body)
        self.assertEqual(json.loads(answer.body)["metadata"]["resourceVersion"], "9")

    def test_in_the_order_of_the_api_server(self) -> None:
        everywhere = "/api/v1/pods"
        self.driver.feed(everywhere, list_of([pod("b", 1, "a"), pod("a", 2, "a-b")], 9))
        self.driver.watch(f"{everywhere}?resourceVersion=9", event("ADDED", pod("a", 10, "a")))
        found = [item["metadata"] for item in self.driver.get(everywhere)["items"]]
        names = [f"{each['namespace']}/{each['name']}" for each in found]
        self.assertEqual(names, ["a-b/a", "a/a", "a/b"])

    def test_a_list_again_is_as_one_seen_first(self) -> None:
        def items(*wanted: tuple[str, int]) -> bytes:
            return list_of([pod(name, version) for name, version in wanted], max(9, wanted[-1][1]))

        first = items(("a", 1), ("c", 2), ("d", 3), ("e", 4))
        for then in (
            first,
            items(("a", 1), ("b", 10), ("c", 2), ("d", 3), ("e", 4)),
            items(("a", 1), ("c", 12), ("e", 4)),
            items(("e", 4), ("d", 3), ("c", 2), ("a", 1)),
            items(("z", 30)),
        ):
            alone = Driver()
            alone.feed(PODS, then)
            both = Driver()
            both.feed(PODS, first)
            for _ in range(2):
                both.feed(PODS, then)
                self.assertEqual(both.get(PODS), alone.get(PODS))
            both.reboot()
            both.feed(PODS, then)
            self.assertEqual(both.get(PODS), alone.get(PODS))
            self.assertEqual(both.records.keys(), alone.records.keys())

    def test_what_a_list_brings_again_is_kept_as_it_is(self) -> None:
        def kept() -> dict[str, Item]:
            (collection,) = self.driver.cache.collections()
            return {name: stored.item for (_, name), stored in collection.objects.items()}

        self.feed(PODS, list_of([pod(name, 1) for name in "bdf"], 9))
        self.feed(PODS, list_of([pod(name, 1) for name in "abcdef"], 10))
        before = kept()
        for turn in range(11, 13):
            self.feed(PODS, list_of([pod(name, turn if name == "c" else 1) for name in "abcdef"], turn))
        self.assertEqual({name for name, item in kept().items() if item is not before[name]}, {"c"})

    def test_an_object_that_is_read_again_is_young_again(self) -> None:
        driver, body = self.driver, json.dumps(typed(pod("a", 7))).encode()
        driver.feed(f"{PODS}/a", body)
        commits = driver.commits
        driver.now += 50
        driver.feed(f"{PODS}/a", body)
        driver.now += 10
        answer = driver.ask(f"{PODS}/a")
        self.assertIn((b"Age", b"10"), answer.headers)
        self.assertEqual(driver.commits, commits, "not worth a write")

    def test_answers_say_that_they_are_old(self) -> None:
        self.feed(PODS, list_of([], 5))
        self.driver.now += 90
        answer = self.driver.ask(PODS)
        assert isinstance(answer, Answer)
        headers = dict(answer.headers)
        self.assertEqual(headers[b"Age"], b"90")
        self.assertTrue(headers[b"Warning"].startswith(b'110 - "response is stale'))

    def test_a_clock_that_is_set(self) -> None:
        """No answer is from the future."""
        self.feed(PODS, list_of([pod("a", 3)], 9))
        for now, age in ((500.0, b"0"), (1060.0, b"60")):
            self.driver.now = now
            for path in (PODS, f"{PODS}/a"):
                answer = self.driver.ask(path)
                assert isinstance(answer, Answer)
                self.assertEqual(dict(answer.headers)[b"Age"], age)
            self.driver.reboot()
            self.assertEqual(self.driver.names(PODS), ["a"])

    def test_an_item_of_a_list_is_a_whole_object(self) -> None:
        self.feed(PODS, list_of([pod("a", 3)], 9))
        found = self.driver.get(f"{PODS}/a")
        self.assertEqual((found["kind"], found["apiVersion"]), ("Pod", "v1"))

    def test_what_is_not_known_is_503_and_not_404(self) -> None:
        self.assertEqual(self.driver.status("/api/v1/namespaces/default/secrets/optional"), 503)
        self.assertEqual(self.driver.status(PODS), 503)
        self.assertEqual(self.driver.status(f"{PODS}?watch=true"), 503)
        answer = self.driver.ask(f"{PODS}/a")
        assert isinstance(answer, Answer)
        self.assertNotIn(b"Retry-After", dict(answer.headers))
        self.assertIn('pods "a" in namespace "default"', json.loads(answer.body)["message"])

    def test_a_path_of_any_length_is_not_repeated(self) -> None:
        answer = self.driver.ask("/" + 100_000 * "a")
        assert isinstance(answer, Answer)
        self.assertEqual(answer.status, 503)
        self.assertLess(len(answer.body), 1000)

    def test_a_complete_view_proves_that_there_is_none(self) -> None:
        self.feed(PODS, list_of([pod("a", 3)], 9))
        self.assertEqual(self.driver.status(f"{PODS}/b"), 404)
        self.assertEqual(self.driver.status("/api/v1/namespaces/other/pods/b"), 503)
        self.feed("/api/v1/pods", list_of([pod("a", 3)], 10))
        self.assertEqual(self.driver.status("/api/v1/namespaces/other/pods/b"), 404)

    def test_a_view_by_labels_proves_nothing(self) -> None:
        self.feed(f"{PODS}?labelSelector=app%3Da", list_of([], 9))
        self.assertEqual(self.driver.status(f"{PODS}/b"), 503)

    def test_a_view_of_one_name_proves_it_for_that_name(self) -> None:
        self.feed(f"{PODS}?fieldSelector=metadata.name%3Dgone", list_of([], 9))
        self.assertEqual(self.driver.status(f"{PODS}/gone"), 404)
        self.assertEqual(self.driver.status(f"{PODS}/other"), 503)

    def test_a_404_is_remembered_until_the_object_is_seen(self) -> None:
        body = b'{"kind":"Status","status":"Failure","reason":"NotFound","code":404}'
        self.feed(f"{PODS}/a", body, 404)
        self.assertEqual(self.driver.status(f"{PODS}/a"), 404)
        self.driver.reboot()
        self.assertEqual(self.driver.status(f"{PODS}/a"), 404)
        self.driver.feed(f"{PODS}/a", json.dumps(typed(pod("a", 4))).encode())
        self.assertEqual(self.driver.status(f"{PODS}/a"), 200)

    def test_a_404_of_something_that_is_no_api_server(self) -> None:
        self.feed(f"{PODS}/a", b"<html>not here</html>", 404, content_type="text/html")
        self.assertEqual(self.driver.status(f"{PODS}/a"), 503)

    def test_an_empty_list_is_remembered_as_empty(self) -> None:
        self.feed(PODS, list_of([], 5))
        self.assertEqual(self.driver.names(PODS), [])
        self.driver.reboot()
        self.assertEqual(self.driver.names(PODS), [])

    def test_newest_wins_whatever_brought_it(self) -> None:
        late = self.driver.begin(f"{PODS}/a")
        assert late is not None
        self.feed(f"{PODS}/a", json.dumps(typed(pod("a", 8))).encode())
        self.feed(f"{PODS}?resourceVersion=0", list_of([pod("a", 5)], 6))
        self.assertEqual(self.driver.get(f"{PODS}/a")["metadata"]["resourceVersion"], "8")
        late.data([json.dumps(typed(pod("a", 7))).encode()])
        late.complete()
        self.assertEqual(self.driver.get(PODS)["items"][0]["metadata"]["resourceVersion"], "8")

    def test_versions_longer_than_64_bits(self) -> None:
        old, new = "99999999999999999999999", "100000000000000000000000"
        for target, version in ((f"{PODS}/a", new), (f"{PODS}/a?resourceVersion=0", old)):
            self.feed(target, json.dumps(typed(pod("a", version))).encode())
            self.assertEqual(self.driver.get(f"{PODS}/a")["metadata"]["resourceVersion"], new)

    def test_deleted_objects_stay_deleted(self) -> None:
        self.feed(PODS, list_of([pod("a", 3), pod("b", 4)], 9))
        self.feed(PODS, list_of([pod("b", 4)], 12))
        self.driver.reboot()
        self.assertEqual(self.driver.names(PODS), ["b"])
        self.assertEqual(self.driver.status(f"{PODS}/a"), 404)

    def test_a_whole_list_also_deletes_what_only_a_get_had_seen(self) -> None:
        self.feed(f"{PODS}/a", json.dumps(typed(pod("a", 3))).encode())
        self.feed(PODS, list_of([], 9))
        self.assertEqual(self.driver.status(f"{PODS}/a"), 404)

    def test_an_older_list_does_not_undo_a_newer_one(self) -> None:
        self.feed(PODS, list_of([pod("a", 3)], 9))
        self.feed(f"{PODS}?resourceVersion=0", list_of([], 2))
        self.assertEqual(self.driver.names(PODS), ["a"])

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
        self.feed(f"{PODS}/gone", json.dumps(typed(pod("gone", 4))).encode())
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

    def test_two_groups_with_the_same_names(self) -> None:
        for group, version in (("apps", 3), ("extensions.example", 4)):
            target = f"/apis/{group}/v1/namespaces/default/deployments"
            self.feed(target, list_of([pod("web", version)], 9, "DeploymentList"))
        for group, wanted in (("apps", "3"), ("extensions.example", "4")):
            found = self.driver.get(f"/apis/{group}/v1/namespaces/default/deployments/web")
            self.assertEqual(found["metadata"]["resourceVersion"], wanted)

    def test_pages_replace_the_view_at_once_at_the_end(self) -> None:
        self.feed(PODS, list_of([pod("old", 1)], 2))
        self.feed(f"{PODS}?limit=1", list_of([pod("a", 3)], 9, token="t1"))
        self.assertEqual(self.driver.names(PODS), ["old"])
        self.feed(f"{PODS}?limit=1&continue=t1", list_of([pod("b", 4)], 9, token="t2"))
        self.assertEqual(self.driver.names(PODS), ["old"])
        self.feed(f"{PODS}?limit=1&continue=t2", list_of([pod("c", 5)], 9))
        self.assertEqual(self.driver.names(PODS), ["a", "b", "c"])

    def test_pages_of_two_selectors_do_not_mix(self) -> None:
        self.feed(f"{PODS}?limit=1", list_of([pod("a", 3)], 9, token="t"))
        self.feed(f"{PODS}?limit=1&labelSelector=x", list_of([pod("x", 3)], 9, token="t"))
        self.feed(f"{PODS}?limit=1&continue=t", list_of([pod("b", 4)], 9))
        self.assertEqual(self.driver.names(PODS), ["a", "b"])
        self.assertEqual(self.driver.status(f"{PODS}?labelSelector=x,!y"), 200)
        self.assertEqual(self.driver.names(f"{PODS}?labelSelector=x"), [])

    def test_last_page_without_the_first_is_no_list(self) -> None:
        self.feed(f"{PODS}?continue=t", list_of([pod("b", 4)], 9))
        self.assertEqual(self.driver.status(PODS), 503)

    def test_pages_of_different_moments_are_no_list(self) -> None:
        self.feed(f"{PODS}?limit=1", list_of([pod("a", 3)], 9, token="t"))
        self.feed(f"{PODS}?limit=1&continue=t", list_of([pod("b", 4)], 11))
        self.assertEqual(self.driver.status(PODS), 503)

    def test_a_token_from_online_is_410(self) -> None:
        self.feed(PODS, list_of([pod("a", 3)], 9))
        self.assertEqual(self.driver.status(f"{PODS}?continue=abc"), 410)
        self.assertEqual(self.driver.names(f"{PODS}?limit=1"), ["a"])

    def test_same_name_in_two_groups(self) -> None:
        self.feed("/apis/a.io/v1/things/x", b'{"kind":"A","metadata":{"name":"x","resourceVersion":"1"}}')
        self.feed("/apis/b.io/v1/things/x", b'{"kind":"B","metadata":{"name":"x","resourceVersion":"1"}}')
        self.assertEqual(self.driver.get("/apis/a.io/v1/things/x")["kind"], "A")
        self.assertEqual(self.driver.get("/apis/b.io/v1/things/x")["kind"], "B")
        self.assertEqual(self.driver.status("/apis/b.io/v2/things/x"), 503)

    def test_no_identity_reads_what_another_cached(self) -> None:
        self.feed("/api/v1/namespaces/default/secrets", list_of([pod("s", 3)], 9, "SecretList"))
        for other in ("cert:system:node:edge-2", "anonymous", "token:system:serviceaccount:default:default"):
            self.assertEqual(self.driver.status("/api/v1/namespaces/default/secrets", identity=other), 503)
            self.assertEqual(self.driver.status("/api/v1/namespaces/default/secrets/s", identity=other), 503)

    def test_selectors_are_told_from_a_wider_view(self) -> None:
        items = [pod("a", 3, app="x"), pod("b", 4, app="y"), pod("c", 5, "other", app="x")]
        self.feed("/api/v1/pods", list_of(items, 9))
        self.assertEqual(self.driver.names(f"{PODS}?labelSelector=app%3Dx"), ["a"])
        self.assertEqual(self.driver.names("/api/v1/pods?labelSelector=app+in+(x)"), ["a", "c"])
        self.assertEqual(self.driver.names(f"{PODS}?fieldSelector=metadata.name%3Db"), ["b"])
        self.assertEqual(self.driver.names("/api/v1/pods?fieldSelector=metadata.namespace!%3Ddefault"), ["c"])
        self.assertEqual(self.driver.names(PODS), ["a", "b"])
        self.assertEqual(self.driver.status(f"{PODS}?fieldSelector=spec.madeUp%3Dn"), 503)

    def test_a_narrow_view_does_not_stand_for_a_wide_one(self) -> None:
        self.feed(PODS, list_of([pod("a", 3)], 9))
        self.assertEqual(self.driver.status("/api/v1/pods"), 503)
        self.feed(f"{PODS}?fieldSelector=spec.nodeName%3Dn", list_of([pod("b", 4)], 10))
        self.assertEqual(self.driver.names(PODS), ["a"])
        self.assertEqual(self.driver.names(f"{PODS}?fieldSelector=spec.nodeName%3Dn"), ["b"])

    def test_well_known_fields(self) -> None:
        here, there = (
            {**pod(name, 3), "spec": {"nodeName": node}} for name, node in (("a", "n"), ("b", "m"))
        )
        self.feed("/api/v1/pods", list_of([here, there], 9))
        self.assertEqual(self.driver.names("/api/v1/pods?fieldSelector=spec.nodeName%3Dn"), ["a"])
        self.assertEqual(self.driver.names(f"{PODS}?fieldSelector=spec.nodeName!%3Dn"), ["b"])
        partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
        self.feed("/api/v1/pods", list_of([pod("a", 3)], 9, "PartialObjectMetadataList"), accept=partial)
        status = self.driver.status("/api/v1/pods?fieldSelector=spec.nodeName%3Dn", accept=partial)
        self.assertEqual(status, 503)  # metadata does not tell

    def test_the_newest_view_that_tells(self) -> None:
        self.feed(f"{PODS}?labelSelector=app%3Dx", list_of([pod("a", 3, app="x")], 9))
        items = [pod("b", 15, app="x"), pod("c", 16)]
        self.feed("/api/v1/pods", list_of(items, 20))
        self.assertEqual(self.driver.names(f"{PODS}?labelSelector=app%3Dx"), ["b"])

    def test_versions_asked_for(self) -> None:
        self.feed(PODS, list_of([pod("a", 3)], 9))
        older, newer = "resourceVersion=5", "resourceVersion=10"
        for query, wanted in (
            ("resourceVersion=0", 200),
            (older, 200),
            (f"{older}&resourceVersionMatch=NotOlderThan", 200),
            ("resourceVersion=9&resourceVersionMatch=Exact", 200),
            (f"{older}&resourceVersionMatch=Exact", 410),
            (newer, 504),
            (f"{newer}&resourceVersionMatch=NotOlderThan", 504),
            ("resourceVersionMatch=NotOlderThan", 400),
            ("limit=1", 200),
            ("limit=1&continue=abc", 410),
        ):
            self.assertEqual(self.driver.status(f"{PODS}?{query}"), wanted, query)
        answer = self.driver.ask(f"{PODS}?{newer}")
        assert isinstance(answer, Answer)
        # What client-go looks for before it lists again without a version.
        (cause,) = json.loads(answer.body)["details"]["causes"]
        self.assertEqual(cause["reason"], "ResourceVersionTooLarge")
        self.assertEqual(self.driver.status(f"{PODS}/a?resourceVersion=3"), 200)
        self.assertEqual(self.driver.status(f"{PODS}/a?resourceVersion=4"), 504)

    def test_one_page_offline(self) -> None:
        self.feed(PODS, list_of([pod("a", 3), pod("b", 4)], 9))
        found = self.driver.get(f"{PODS}?limit=1")
        self.assertEqual(len(found["items"]), 2)
        self.assertNotIn("continue", found["metadata"])

    def test_a_404_from_before_an_object_was_made(self) -> None:
        partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
        self.feed(f"{PODS}/a", b'{"kind":"Status","reason":"NotFound","code":404}', 404)
        made = typed(pod("a", 14))
        self.feed(f"{PODS}/a", json.dumps({**made, "kind": "PartialObjectMetadata"}).encode(), accept=partial)
        self.feed(f"{PODS}/b", json.dumps(typed(pod("b", 20))).encode())
        self.assertEqual(self.driver.status(f"{PODS}/a"), 503)
        self.assertEqual(self.driver.status(f"{PODS}/a", accept=partial), 200)

    def test_a_404_that_an_open_watch_has_overtaken(self) -> None:
        self.feed(PODS, list_of([], 9))
        late = self.driver.begin(f"{PODS}/a", 404)
        assert late is not None
        self.driver.watch(
            f"{PODS}?resourceVersion=9",
            b'{"type":"ADDED","object":%b}\n' % json.dumps(typed(pod("a", 10))).encode(),
        )
        late.data([b'{"kind":"Status","reason":"NotFound","code":404}'])
        late.complete()
        self.assertEqual(self.driver.names(PODS), ["a"])
        self.assertEqual(self.driver.status(f"{PODS}/a"), 200)

    def test_a_resource_that_is_defined_while_running(self) -> None:
        aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
        for content, tag in ((b"[]", b'"1"'), (b'["tills"]', b'"2"')):
            self.feed("/apis", content, accept=aggregated, content_type=aggregated.split(",")[0], etag=tag)
        tills = "/apis/shop.example/v1/namespaces/default/tills"
        self.feed(tills, list_of([pod("t", 30)], 31, "TillList"))
        self.driver.reboot()
        self.assertEqual(self.driver.get("/apis", accept=aggregated), ["tills"])
        self.assertEqual(self.driver.names(tills), ["t"])
        self.assertEqual(self.driver.get(f"{tills}/t")["kind"], "Till")

    def test_a_resource_that_is_no_longer_served(self) -> None:
        """A CustomResourceDefinition was deleted: its objects do not come back at the next outage."""
        tills = "/apis/shop.example/v1/namespaces/default/tills"
        every = {"tills": tills, "one": f"{tills}/t", "watch": f"{tills}?watch=true&resourceVersion=31"}
        for name, asked in every.items():
            with self.subTest(asked=name):
                self.setUp()
                self.feed(tills, list_of([pod("t", 30)], 31, "TillList"))
                self.feed(f"{tills}?labelSelector=a", list_of([], 31, "TillList"))
                self.feed(PODS, list_of([pod("a", 3)], 31))
                self.feed("/apis/shop.example/v1", b"{}")
                for body, audited in ((b"404 page not found\n", False), (b"<html>not found</html>", True)):
                    self.feed(asked, body, 404, content_type="text/plain", audited=audited)
                    self.assertEqual(self.driver.names(tills), ["t"], "no API server says so")
                self.feed(asked, b"404 page not found\n", 404, content_type="text/plain; charset=utf-8")
                self.feed("/apis/shop.example/v1", b"404 page not found\n", 404, content_type="text/plain")
                self.driver.reboot()
                for path in (tills, f"{tills}/t", f"{tills}?labelSelector=a", "/apis/shop.example/v1"):
                    self.assertEqual(self.driver.status(path), 503, path)
                self.assertEqual(self.driver.names(PODS), ["a"])
                self.feed(tills, list_of([pod("u", 40)], 41, "TillList"))
                self.assertEqual(self.driver.names(tills), ["u"])

    def test_bad_selector_is_400(self) -> None:
        self.feed(PODS, list_of([pod("a", 3)], 9))
        self.assertEqual(self.driver.status(f"{PODS}?labelSelector=a%3D%3D%3D%3Db"), 400)

    def test_namespaces_are_objects_too(self) -> None:
        body = b'{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"default","resourceVersion":"1"}}'
        self.feed("/api/v1/namespaces/default", body)
        self.assertEqual(self.driver.get("/api/v1/namespaces/default")["kind"], "Namespace")

    def test_objects_without_version(self) -> None:
        target = "/apis/metrics.k8s.io/v1beta1/nodes"
        for names in (["a", "b"], ["b", "c"]):
            items = [{"metadata": {"name": name}} for name in names]
            self.feed(target, list_of(items, "", "NodeMetricsList"))
            self.assertEqual(self.driver.names(target), names)


class FormTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.driver = Driver()
        self.feed = self.driver.feed

    def table(self, version: int, *names: str) -> bytes:
        return json.dumps(table([row(name, version) for name in names], version)).encode()

    def test_protobuf_stays_protobuf(self) -> None:
        target = "/api/v1/namespaces/samples/configmaps?labelSelector=app"
        self.feed(target, sample("list.protobuf"), accept=PROTOBUF)
        answer = self.driver.ask(target, accept=PROTOBUF)
        assert isinstance(answer, Answer)
        self.assertEqual(answer.body, sample("list.protobuf"))
        self.assertEqual(self.driver.status(target, accept=JSON), 503)
        one = self.driver.ask("/api/v1/namespaces/samples/configmaps/c1", accept=f"{PROTOBUF},{JSON}")
        assert isinstance(one, Answer)
        self.assertEqual(one.body, sample("object.protobuf"))

    def test_a_table_is_labelled_as_plain_json(self) -> None:
        self.feed(PODS, self.table(9, "a"), accept=TABLE)
        self.assertEqual(self.driver.get(PODS, accept=TABLE)["kind"], "Table")
        self.assertEqual(self.driver.status(PODS), 503)

    def test_a_server_that_knows_no_tables(self) -> None:
        self.feed(PODS, list_of([pod("a", 3)], 9), accept=TABLE)
        self.assertEqual(self.driver.names(PODS), ["a"])
        self.assertEqual(self.driver.names(PODS, accept=TABLE), ["a"])

    def test_the_fresher_of_table_and_list(self) -> None:
        self.feed(PODS, self.table(9, "a", "b"), accept=TABLE)
        self.feed(PODS, list_of([pod("b", 4)], 12))
        self.assertEqual(self.driver.get(PODS, accept=TABLE)["kind"], "PodList")
        self.feed(PODS, self.table(15, "c"), accept=TABLE)
        self.assertEqual(self.driver.get(PODS, accept=TABLE)["kind"], "Table")

    def test_a_newer_list_of_the_same_leaves_kubectl_its_table(self) -> None:
        def columns() -> bool:
            return bool(self.driver.get(PODS, accept=TABLE)["kind"] == "Table")

        rows = json.dumps(table([row("a", 3), row("b", 4)], 9)).encode()
        self.feed(PODS, rows, accept=TABLE)
        self.feed(PODS, list_of([pod("a", 3), pod("b", 4)], 12))
        self.assertTrue(columns())
        self.assertEqual(self.driver.get(f"{PODS}?resourceVersion=10", accept=TABLE)["kind"], "PodList")
        self.assertEqual(
            self.driver.names(f"{PODS}?resourceVersionMatch=Exact&resourceVersion=12"), ["a", "b"]
        )
        for items in ([pod("a", 3)], [pod("a", 3), pod("b", 13)], [pod(name, 3) for name in "abc"]):
            self.setUp()
            self.feed(PODS, rows, accept=TABLE)
            self.feed(PODS, list_of(items, 14))
            self.assertFalse(columns())

    def test_a_table_of_an_object_that_is_deleted(self) -> None:
        self.feed(f"{PODS}/a", self.table(9, "a"), accept=TABLE)
        self.assertEqual(self.driver.status(f"{PODS}/a", accept=TABLE), 200)
        self.feed(PODS, list_of([], 12))
        self.assertEqual(self.driver.status(f"{PODS}/a", accept=TABLE), 404)

    def test_a_404_ends_a_table(self) -> None:
        self.feed(f"{PODS}/a", self.table(9, "a"), accept=TABLE)
        self.feed(f"{PODS}/a", b'{"kind":"Status","reason":"NotFound","code":404}', 404, accept=TABLE)
        self.assertEqual(self.driver.status(f"{PODS}/a", accept=TABLE), 404)
        self.feed(f"{PODS}/a", self.table(14, "a"), accept=TABLE)
        self.assertEqual(self.driver.status(f"{PODS}/a", accept=TABLE), 200)

    def test_metadata_alone_is_another_form(self) -> None:
        partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
        self.feed(PODS, list_of([pod("a", 3)], 9, "PartialObjectMetadataList"), accept=partial)
        self.assertEqual(self.driver.status(PODS), 503)
        self.assertEqual(self.driver.get(PODS, accept=partial)["kind"], "PartialObjectMetadataList")

    def test_gzip_of_one_and_of_many_members(self) -> None:
        body = list_of([pod("a", 3)], 9)
        for encoded in (gzipped([body]), gzipped([body[:10], body[10:]])):
            driver = Driver()
            driver.feed(PODS, encoded, encoding=b"gzip")
            self.assertEqual(driver.names(PODS), ["a"])

    def test_gzip_cut_short_changes_nothing(self) -> None:
        self.feed(PODS, list_of([pod("old", 1)], 2))
        body = gzipped([list_of([pod("a", 3)], 9)])
        self.feed(PODS, body[:-5], encoding=b"gzip")
        self.assertEqual(self.driver.names(PODS), ["old"])

    def test_an_encoding_that_is_not_read(self) -> None:
        self.assertIsNone(self.driver.begin(PODS, encoding=b"br"))

    def test_discovery_and_schemas(self) -> None:
        aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
        self.feed("/apis", b"[1]", accept=aggregated, content_type=aggregated.split(",")[0])
        self.assertEqual(self.driver.get("/apis", accept=aggregated), [1])
        self.assertEqual(self.driver.status("/apis"), 503)
        schema = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
        returned = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
        self.feed("/openapi/v2?timeout=32s", b"\x0a\x01", accept=schema, content_type=returned)
        answer = self.driver.ask("/openapi/v2?timeout=5s", accept=schema)
        assert isinstance(answer, Answer)
        self.assertEqual(
            (answer.body, dict(answer.headers)[b"Content-Type"]), (b"\x0a\x01", returned.encode())
        )
        self.feed("/version", b"{}")
        self.assertEqual(self.driver.get("/version", accept="*/*"), {})

    def test_entity_tags(self) -> None:
        self.feed("/openapi/v3", b'{"paths":{}}', etag=b'"abc"')
        self.driver.reboot()
        for sent, wanted in (
            ('"abc"', 304),
            ('W/"abc"', 304),
            ('"x", "abc"', 304),
            ("*", 304),
            ('"abd"', 200),
        ):
            answer = self.driver.ask("/openapi/v3", none_match=sent)
            assert isinstance(answer, Answer)
            self.assertEqual(answer.status, wanted, sent)
            self.assertEqual(dict(answer.headers)[b"ETag"], b'"abc"')
            self.assertEqual(bool(answer.body), wanted == 200)

    def test_a_304_makes_a_document_young(self) -> None:
        self.feed("/apis", b"{}", etag=b'"abc"')
        self.driver.now += 500
        for tag, age in ((b'"other"', b"500"), (b"", b"500"), (b'"abc"', b"0")):
            self.assertIsNone(self.driver.begin("/apis", 304, etag=tag))
            answer = self.driver.ask("/apis")
            assert isinstance(answer, Answer)
            self.assertEqual(dict(answer.headers)[b"Age"], age)

    def test_a_schema_takes_the_place_of_its_former_hash(self) -> None:
        self.feed("/openapi/v3/apis/apps/v1?hash=A", b"1")
        self.feed("/openapi/v3/api/v1?hash=A", b"2")
        self.feed("/openapi/v3/apis/apps/v1?hash=B", b"3")
        self.assertEqual(self.driver.status("/openapi/v3/apis/apps/v1?hash=A"), 503)
        self.assertEqual(self.driver.get("/openapi/v3/apis/apps/v1?hash=B"), 3)
        self.assertEqual(self.driver.get("/openapi/v3/api/v1?hash=A"), 2)


class PolicyTests(SynchronousTestCase):
    def test_what_is_never_remembered(self) -> None:
        driver = Driver()
        for target in (
            f"{PODS}/a/log",
            f"{PODS}/a/exec?command=ls",
            f"{PODS}/a/proxy/x",
            "/api/v1/nodes/n/proxy/metrics",
            "/healthz",
            "/readyz",
            "/metrics",
            "/logs/",
        ):
            self.assertIsNone(driver.begin(target), target)
        self.assertIsNotNone(driver.begin(f"{PODS}/a/status"))
        for status in (201, 206, 304, 401, 403, 410, 500):
            self.assertIsNone(driver.begin(PODS, status))
        self.assertEqual(driver.status(f"{PODS}/a/log"), 503)

    def test_rules(self) -> None:
        rules = [
            CacheRuleConfig(resources="secrets", action="memory-only"),
            CacheRuleConfig(resources="*.metrics.k8s.io", action="skip"),
            CacheRuleConfig(resources="secrets", action="skip"),
        ]
        driver = Driver(rules)
        secrets = "/api/v1/namespaces/default/secrets"
        driver.feed(secrets, list_of([pod("s", 3)], 9, "SecretList"))
        driver.feed(secrets, b"kind: SecretList", accept="application/yaml")
        self.assertEqual(driver.names(secrets), ["s"])
        driver.cache.save()
        self.assertEqual(driver.records, {})
        driver.reboot()
        self.assertEqual(driver.status(secrets), 503)
        self.assertIsNone(driver.begin("/apis/metrics.k8s.io/v1beta1/nodes"))

    def test_head_is_answered_as_get(self) -> None:
        driver = Driver()
        driver.feed(PODS, list_of([pod("a", 3)], 9))
        driver.feed("/version", b"{}")
        other = "/api/v1/namespaces/other/pods"
        for target, wanted in (
            (PODS, 200),
            (f"{PODS}/a", 200),
            (f"{PODS}/b", 404),
            (other, 503),
            ("/version", 200),
            ("/healthz", 503),
        ):
            for method in ("GET", "HEAD"):
                answer = driver.cache.answer(ME, request(target, method=method))
                assert isinstance(answer, Answer)
                self.assertEqual(answer.status, wanted, (method, target))

    def test_writes_are_refused(self) -> None:
        driver = Driver()
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            answer = driver.cache.answer(ME, request(PODS, method=method))
            assert isinstance(answer, Answer)
            self.assertEqual(answer.status, 503)


class FaultTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.driver = Driver(max_body=10_000)
        self.driver.feed(PODS, list_of([pod("a", 3)], 9))

    def tearDown(self) -> None:
        self.assertEqual(self.driver.names(PODS), ["a"])
        self.driver.reboot()
        self.assertEqual(self.driver.names(PODS), ["a"])

    def test_truncated_bodies(self) -> None:
        body = list_of([pod("b", 4)], 12)
        for end in range(0, len(body), 11):
            self.driver.feed(PODS, body[:end])
            recorder = self.driver.begin(PODS)
            assert recorder is not None
            recorder.data([body[:end]])
            recorder.abort()

    def test_bodies_that_are_something_else(self) -> None:
        for body in (b"", b"null", b"[]", b"<html>", b"{}", b'{"kind":"Status"}', b"\xff\xfe"):
            self.driver.feed(PODS, body)
            self.driver.feed(f"{PODS}/a", body)

    def test_too_large_a_body(self) -> None:
        self.driver.feed(PODS, list_of([pod("x" * 20_000, 4)], 12))

    def test_bodies_on_their_way_are_bounded_for_each_identity(self) -> None:
        """Of answers that a caller does not read to the end, and takes ever more of."""
        body = list_of([pod("b", 4, padding="x" * 7000)], 12)
        other = self.driver.begin(PODS, identity="cert:other")
        endless = [self.driver.begin(f"{PODS}?labelSelector=n{number}") for number in range(100)]
        for recorder in endless:
            assert recorder is not None
            recorder.data([body])
        held = [recorder for recorder in endless if recorder._chunks]  # type: ignore[union-attr]
        self.assertEqual(len(held), 1)
        assert other is not None
        other.data([body])
        other.complete()
        self.assertEqual(self.driver.names(PODS, identity="cert:other"), ["b"])
        for recorder in endless:
            recorder.abort()  # type: ignore[union-attr]
        elsewhere = "/api/v1/namespaces/x/pods"
        self.driver.feed(elsewhere, list_of([pod("b", 4, "x", padding="x" * 7000)], 12))
        self.assertEqual(self.driver.names(elsewhere), ["b"], "what ended counts no longer")

    def test_a_bomb(self) -> None:
        self.driver.feed(PODS, gzipped([b"x" * 50_000_000]), encoding=b"gzip")

    def test_a_lost_record_is_no_proof_of_deletion(self) -> None:
        driver = Driver()
        driver.feed(PODS, list_of([pod("a", 3), pod("b", 4, app="x")], 9))
        driver.feed(f"{PODS}?labelSelector=app", list_of([pod("b", 4, app="x")], 9))
        (lost,) = [key for kind, key in driver.records if kind == "object" and key[-1] == "a"]
        del driver.records["object", lost]
        driver.reboot()
        self.assertEqual(driver.status(f"{PODS}/a"), 503)
        self.assertEqual(driver.status(PODS), 503)
        self.assertEqual(driver.status(f"{PODS}/b"), 200)
        self.assertEqual(driver.names(f"{PODS}?labelSelector=app"), ["b"])  # it lacks nothing

    def test_what_one_view_deletes_the_others_do_not_lack(self) -> None:
        driver = Driver()
        driver.feed(PODS, list_of([pod("a", 3), pod("b", 4, app="x")], 9))
        driver.feed(f"{PODS}?labelSelector=app", list_of([pod("b", 4, app="x")], 9))
        driver.feed(f"{PODS}/b", b'{"kind":"Status","reason":"NotFound","code":404}', 404)
        driver.reboot()
        self.assertEqual(driver.names(PODS), ["a"])
        self.assertEqual(driver.names(f"{PODS}?labelSelector=app"), [])

    def test_damaged_records_are_dropped_alone(self) -> None:
        for kind, key in list(self.driver.records):
            other = (*key[:-1], "damaged")
            self.driver.records[kind, other] = b"no json\nrest"
        self.driver.records["object", ("too", "short")] = b"{}\n"
        self.driver.records["stranger", ("x",)] = b""
        self.driver.reboot()
        self.assertFalse([key for _, key in self.driver.records if key[-1] == "damaged"])
