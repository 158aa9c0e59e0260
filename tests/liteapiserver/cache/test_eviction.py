from __future__ import annotations

import json

from prometheus_client import REGISTRY
from twisted.trial.unittest import SynchronousTestCase

from superedge.liteapiserver.cache.eviction import Limits
from superedge.liteapiserver.cache.objects import MAX_ABSENT
from tests.liteapiserver.cache.driver import PODS, TABLE, Driver, event, list_of, pod, typed

MANY = 1_000_000_000
EVICTIONS = "superedge_liteapiserver_cache_evictions_total"


def space(name: str) -> str:
    return f"/api/v1/namespaces/{name}/pods"


class LimitTests(SynchronousTestCase):
    def fill(self, driver: Driver, count: int, objects: int = 10) -> None:
        """A view a second, each of some objects: with ten of them it counts as eleven."""
        for number in range(count):
            driver.now += 1
            items = [pod(f"p{each}", 5, f"n{number}") for each in range(objects)]
            driver.feed(space(f"n{number}"), list_of(items, 9))

    def known(self, driver: Driver, count: int) -> list[int]:
        return [number for number in range(count) if driver.status(space(f"n{number}")) == 200]

    def test_nothing_is_forgotten_within_the_limits(self) -> None:
        driver = Driver(limits=Limits(MANY, 110))
        self.fill(driver, 10)
        driver.cache.evict()
        self.assertEqual(self.known(driver, 10), list(range(10)))

    def test_the_oldest_views_go_first_from_memory_and_store(self) -> None:
        driver = Driver(limits=Limits(MANY, 110))
        self.fill(driver, 12)
        before = REGISTRY.get_sample_value(EVICTIONS, {"kind": "view"}) or 0.0
        driver.cache.evict()
        self.assertEqual(REGISTRY.get_sample_value(EVICTIONS, {"kind": "view"}), before + 3)
        for _ in range(2):
            self.assertEqual(self.known(driver, 12), list(range(3, 12)))
            driver.reboot()

    def test_what_was_asked_for_lately_stays(self) -> None:
        driver = Driver(limits=Limits(MANY, 110))
        self.fill(driver, 12)
        driver.now += 1
        driver.status(space("n0"))
        driver.cache.evict()
        self.assertEqual(self.known(driver, 12), [0, *range(4, 12)])

    def test_what_an_open_watch_shows_stays(self) -> None:
        driver = Driver(limits=Limits(MANY, 110))
        self.fill(driver, 12)
        watch = driver.watch(f"{space('n0')}?resourceVersion=9", event("ADDED", pod("new", 10, "n0")))
        driver.now += 1
        for number in range(1, 12):
            driver.status(space(f"n{number}"))
        driver.cache.evict()
        self.assertIn(0, self.known(driver, 12))
        watch.abort()
        driver.now += 1
        self.known(driver, 0)
        for number in range(20, 23):
            driver.now += 1
            items = [pod(f"p{each}", 20, f"n{number}") for each in range(10)]
            driver.feed(space(f"n{number}"), list_of(items, 30))
        for number in range(1, 12):
            driver.status(space(f"n{number}"))
        driver.cache.evict()
        self.assertNotIn(0, self.known(driver, 12))

    def test_bytes_count_too(self) -> None:
        driver = Driver(limits=Limits(20_000, MANY))
        self.fill(driver, 100)
        driver.feed("/openapi/v2", b"[%b]" % (b" " * 15_000))
        driver.cache.evict()
        self.assertLess(len(self.known(driver, 100)), 100)
        self.assertEqual(driver.status("/openapi/v2"), 200)
        self.assertLess(sum(map(len, driver.records.values())), 40_000)

    def test_objects_that_were_only_got(self) -> None:
        driver = Driver(limits=Limits(MANY, 10))
        for number in range(30):
            driver.now += 1
            driver.feed(f"{PODS}/p{number}", json.dumps(typed(pod(f"p{number}", 5))).encode())
        driver.now += 1
        driver.feed(f"{PODS}/p0", json.dumps(typed(pod("p0", 5))).encode())
        driver.cache.evict()
        found = [number for number in range(30) if driver.status(f"{PODS}/p{number}") == 200]
        self.assertEqual(found, [0, *range(22, 30)])

    def test_an_object_of_two_views_stays_with_the_other(self) -> None:
        driver = Driver(limits=Limits(MANY, 1))
        driver.feed(f"{PODS}?labelSelector=app", list_of([pod("a", 5, app="x")], 9))
        driver.now += 1
        driver.feed(PODS, list_of([pod("a", 5, app="x")], 9))
        driver.feed(f"{PODS}/lone", json.dumps(typed(pod("lone", 5))).encode())
        driver.cache.evict()
        self.assertLessEqual(len([key for kind, key in driver.records if kind == "object"]), 1)

    def test_remembered_404s_are_bounded(self) -> None:
        driver = Driver()
        body = b'{"kind":"Status","reason":"NotFound","code":404}'
        for number in range(MAX_ABSENT + 10):
            driver.feed(f"{PODS}/p{number}", body, 404)
        self.assertEqual(driver.status(f"{PODS}/p0"), 503)
        self.assertEqual(driver.status(f"{PODS}/p{MAX_ABSENT}"), 404)
        self.assertEqual(len(driver.records), MAX_ABSENT)

    def test_questions_that_find_nothing_are_bounded(self) -> None:
        """A kubelet watches each ConfigMap and Secret of its pods by name; names come and go."""
        driver = Driver(limits=Limits(MANY, 100))

        def ask(number: int) -> str:
            return f"{PODS}?fieldSelector=metadata.name%3Djob-{number}"

        for number in range(2000):
            driver.now += 1
            driver.feed(ask(number), list_of([], 9))
            if number % 50 == 0:
                driver.cache.evict()
        driver.cache.evict()
        self.assertLessEqual(len(driver.records), 100)
        self.assertEqual([driver.status(ask(number)) for number in (0, 1999)], [503, 200])

    def test_documents_are_bounded_by_their_number_too(self) -> None:
        driver = Driver(limits=Limits(MANY, 100))
        for number in range(1000):
            driver.now += 1
            driver.feed(f"{PODS}?labelSelector=n%3D{number}", b"kind: PodList", accept="application/yaml")
        driver.cache.evict()
        statuses = [
            driver.status(f"{PODS}?labelSelector=n%3D{number}", accept="application/yaml")
            for number in (0, 999)
        ]
        self.assertEqual(statuses, [503, 200])

    def test_keys_count_in_bytes(self) -> None:
        driver = Driver(limits=Limits(100_000, MANY))
        for number in range(100):
            driver.now += 1
            driver.feed(f"{PODS}?labelSelector={'x' * 10_000}{number}", list_of([], 9))
        driver.cache.evict()
        self.assertLess(sum(len(part) for _, key in driver.records for part in key), 100_000)
        self.assertLess(sum(map(len, driver.records.values())), 110_000)

    def test_parameters_that_ask_for_nothing_make_no_documents(self) -> None:
        """Anybody may ask for the version in a hundred thousand ways."""
        driver = Driver()
        driver.feed("/version?timeout=32s", b'{"major":"1"}')
        for number in range(10):
            self.assertIsNone(driver.begin(f"/version?i={number}"))
            driver.feed(f"{PODS}?i={number}", b"kind: PodList", accept="application/yaml")
        self.assertEqual(len(driver.records), 2)
        for target in ("/version", "/version?i=5", "/version?timeout=1s"):
            self.assertEqual(driver.get(target), {"major": "1"})
        self.assertIsNone(driver.begin("/openapi/v2?hash=1"))
        self.assertIsNotNone(driver.begin("/openapi/v3/api/v1?hash=1&timeout=32s"))

    def test_404s_go_before_anything_else(self) -> None:
        driver = Driver(limits=Limits(MANY, 20))
        driver.feed(PODS, list_of([pod("a", 5)], 9))
        for number in range(30):
            driver.now += 1
            driver.feed(f"{PODS}/p{number}", b'{"kind":"Status","reason":"NotFound","code":404}', 404)
        driver.cache.evict()
        self.assertEqual(driver.names(PODS), ["a"])
        self.assertEqual({kind for kind, _ in driver.records}, {"object", "view"})

    def test_resources_that_come_and_go_leave_nothing(self) -> None:
        driver = Driver()
        for number in range(1000):
            path = f"/apis/example.org/v1/namespaces/default/kind-{number}"
            for accept in ("application/json", TABLE):
                driver.begin(path, accept=accept)
            driver.feed(f"{path}/a", json.dumps(typed(pod("a", 5))).encode())
            driver.feed(path, b"404 page not found", 404)
            driver.cache.evict()
        self.assertEqual((driver.cache.collections(), driver.records), ([], {}))

    def test_an_answer_that_is_on_its_way_while_its_resource_is_forgotten(self) -> None:
        driver = Driver()
        recorder = driver.begin(f"{PODS}/a")
        assert recorder is not None
        driver.cache.evict()
        recorder.data([json.dumps(typed(pod("a", 5))).encode()])
        recorder.complete()
        self.assertEqual(driver.status(f"{PODS}/a"), 200)

    def test_a_resource_that_comes_back(self) -> None:
        driver = Driver()
        for _ in range(3):
            driver.feed(f"{PODS}/a", json.dumps(typed(pod("a", 5))).encode())
            self.assertEqual(driver.status(f"{PODS}/a"), 200)
            (collection,) = driver.cache.collections()
            self.assertFalse(collection.retired)
            driver.feed(PODS, b"404 page not found", 404)
            driver.cache.evict()
            self.assertEqual(driver.cache.collections(), [])


class ShareTests(SynchronousTestCase):
    """Who has most for the own share gives way, and not who asked longest ago."""

    def fill(self, driver: Driver, identity: str, count: int, begin: int = 0) -> None:
        for number in range(begin, begin + count):
            driver.now += 1
            target = f"{PODS}/p{number}"
            driver.feed(target, json.dumps(typed(pod(f"p{number}", 5))).encode(), identity=identity)

    def count(self, driver: Driver, identity: str) -> int:
        return sum(key[0] == identity for _, key in driver.records)

    def test_callers_without_credentials_push_nobody_out(self) -> None:
        driver = Driver(limits=Limits(MANY, 100))
        self.fill(driver, "cert:system:node:edge-1", 40)
        self.fill(driver, "token:system:serviceaccount:shop:web@k8s", 20)
        for number in range(1000):
            others = ("anonymous", f"credential:{number:064}", f"as:x:0:credential:{number}")
            self.fill(driver, others[number % 3], 1, number)
        driver.cache.evict()
        self.assertEqual(self.count(driver, "cert:system:node:edge-1"), 40)
        self.assertEqual(self.count(driver, "token:system:serviceaccount:shop:web@k8s"), 20)
        self.assertGreater(len(driver.records), 80, "what others leave they may have")

    def test_an_account_pushes_out_itself(self) -> None:
        driver = Driver(limits=Limits(MANY, 100))
        greedy, modest = "token:a@k8s", "token:b@k8s"
        self.fill(driver, "cert:system:node:edge-1", 30)
        self.fill(driver, modest, 10)
        self.fill(driver, greedy, 300)
        self.fill(driver, f"as:somebody:0:{greedy}", 300)
        driver.cache.evict()
        self.assertEqual(
            (self.count(driver, "cert:system:node:edge-1"), self.count(driver, modest)), (30, 10)
        )

    def test_who_has_most_gives_way_whoever_it_is(self) -> None:
        driver = Driver(limits=Limits(MANY, 100))
        self.fill(driver, "anonymous", 2)
        self.fill(driver, "cert:system:node:edge-1", 300)
        driver.cache.evict()
        self.assertEqual(self.count(driver, "anonymous"), 2)
        self.assertEqual(len(driver.records), 90)
