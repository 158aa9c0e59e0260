"""What clients read comes back, and nothing else does. Each known failure of a peer has a test."""

from __future__ import annotations

import itertools
import json

from twisted.trial.unittest import SynchronousTestCase

from superedge.kube.objects import Item
from superedge.liteapiserver.cache.answers import Answer
from tests.liteapiserver.cache.driver import (
    PODS,
    Driver,
    event,
    list_of,
    pod,
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
            ("resourceVersionMatch=NotOlderThan", 422),
            ("resourceVersion=x", 400),
            ("limit=1", 200),
            ("limit=1&continue=abc", 410),
        ):
            self.assertEqual(self.driver.status(f"{PODS}?{query}"), wanted, query)
        answer = self.driver.ask(f"{PODS}?{newer}")
        assert isinstance(answer, Answer)
        # What client-go looks for before it lists again without a version.
        (cause,) = json.loads(answer.body)["details"]["causes"]
        self.assertEqual(cause["reason"], "ResourceVersionTooLarge")
        self.assertEqual(self.driver.status(f"{PODS}/a?resourceVersion=9"), 200, "the list showed it then")
        self.assertEqual(self.driver.status(f"{PODS}/a?resourceVersion=10"), 504)

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
        message = "the server could not find the requested resource"
        status = b'{"kind":"Status","reason":"NotFound","message":"%b"}' % message.encode()
        page = b"404 page not found\n"
        for (name, asked), gone in itertools.product(every.items(), (page, status)):
            with self.subTest(asked=name, gone=gone):
                self.setUp()
                self.feed(tills, list_of([pod("t", 30)], 31, "TillList"))
                self.feed(f"{tills}?labelSelector=a", list_of([], 31, "TillList"))
                self.feed(PODS, list_of([pod("a", 3)], 31))
                self.feed("/apis/shop.example/v1", b"{}")
                for body, audited in ((b"404 page not found\n", False), (b"<html>not found</html>", True)):
                    self.feed(asked, body, 404, content_type="text/plain", audited=audited)
                    self.assertEqual(self.driver.names(tills), ["t"], "no API server says so")
                self.feed(asked, gone, 404, content_type="text/plain; charset=utf-8")
                self.feed("/apis/shop.example/v1", b"404 page not found\n", 404, content_type="text/plain")
                self.driver.reboot()
                for path in (tills, f"{tills}/t", f"{tills}?labelSelector=a", "/apis/shop.example/v1"):
                    self.assertEqual(self.driver.status(path), 503, path)
                self.assertEqual(self.driver.names(PODS), ["a"])
                self.feed(tills, list_of([pod("u", 40)], 41, "TillList"))
                self.assertEqual(self.driver.names(tills), ["u"])

    def test_a_path_of_another_scope(self) -> None:
        """A path outside of namespaces says nothing of an object in one, nor the other way round."""
        below = "/apis/shop.example/v1"
        namespaced = f"{below}/namespaces/default"
        for scope, namespace, wrong in (
            (f"{namespaced}/tills", "default", f"{below}/tills/t"),
            (f"{below}/tills", "", f"{namespaced}/tills"),
            (f"{below}/tills", "", f"{namespaced}/tills/t"),
        ):
            with self.subTest(wrong=wrong):
                self.setUp()
                self.feed(scope, list_of([pod("t", 30, namespace)], 31, "TillList"))
                self.feed(wrong, b"404 page not found\n", 404, content_type="text/plain")
                self.assertEqual(self.driver.names(scope), ["t"])

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
