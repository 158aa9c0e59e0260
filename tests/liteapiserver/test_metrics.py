"""What monitoring sees of requests, of the cache and of the cloud."""

from __future__ import annotations

import json

from prometheus_client import REGISTRY

from tests.liteapiserver.cache.driver import list_of, pod, typed
from tests.liteapiserver.test_offline import OfflineTestCase
from tests.liteapiserver.test_proxying import PODS
from tests.liteapiserver.world import JSON, NODE, Seen, until

REQUESTS = "requests_total"


def sample(metric: str, /, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"superedge_liteapiserver_{metric}", labels) or 0.0


def requests(verb: str, resource: str, code: int, source: str) -> float:
    return sample(REQUESTS, verb=verb, resource=resource, code=str(code), source=source)


class MetricsTests(OfflineTestCase):
    async def test_requests_by_what_they_ask_and_who_answers(self) -> None:
        self.upstream.serve(f"{PODS}/a".encode(), json.dumps(typed(pod("a", 3))).encode())
        await self.remember("a")
        asked = [
            ("GET", PODS, ("list", "pods", 200, "upstream")),
            ("GET", f"{PODS}/a", ("get", "pods", 200, "upstream")),
            ("GET", f"{PODS}/b", ("get", "pods", 404, "upstream")),
            ("DELETE", f"{PODS}/b", ("delete", "pods", 404, "upstream")),
            ("MKCOL", "/x", ("other", "", 404, "upstream")),
        ]
        for method, target, labels in asked:
            before = requests(*labels), sample("request_seconds_count", source="upstream")
            await self.world.ask(method, target, identity=self.world.node)
            self.assertEqual(requests(*labels), before[0] + 1, labels)
            self.assertEqual(sample("request_seconds_count", source="upstream"), before[1] + 1)
        await self.world.go_offline()
        for method, target, labels, outcome in (
            ("GET", PODS, ("list", "pods", 200, "cache"), "hit"),
            ("GET", f"{PODS}/b", ("get", "pods", 404, "cache"), "hit"),
            ("GET", "/api/v1/nodes/n", ("get", "", 503, "cache"), "miss"),
            ("POST", PODS, ("create", "pods", 503, "cache"), "refused"),
            ("GET", f"/api/v1/{'x' * 70}", ("list", "", 503, "cache"), "miss"),
        ):
            names = "cache_answers_total", "request_seconds_count"
            before = requests(*labels), sample(names[0], outcome=outcome)
            answered = sample(names[1], source="cache")
            await self.world.ask(method, target, identity=self.world.node)
            self.assertEqual(
                (requests(*labels), sample(names[0], outcome=outcome)), (before[0] + 1, before[1] + 1)
            )
            self.assertEqual(sample(names[1], source="cache"), answered + 1)

    async def test_who_is_sent_away(self) -> None:
        stranger = self.world.authority.issue("stranger", directory=self.world.directory, name="stranger")
        before = requests("list", "", 403, "refused")
        await self.world.ask("GET", PODS, identity=stranger)
        self.assertEqual(requests("list", "", 403, "refused"), before + 1)

    async def test_what_is_under_way(self) -> None:
        def begin(seen: Seen) -> None:
            seen.request.start(200, b"OK", list(JSON), False)
            seen.request.flush()

        await self.remember("a")
        self.upstream.answers[b"/api/v1/watch/nodes"] = begin
        watch = await self.world.send("GET", "/api/v1/watch/nodes", identity=self.world.node)
        await watch.begun
        self.upstream.answers[b"/held"] = lambda seen: None
        await self.world.send("GET", "/held", identity=self.world.node)
        await until(lambda: sample("requests_in_flight") == 2)
        self.assertEqual((sample("watches", source="upstream"), sample("watches", source="cache")), (1, 0))
        transitions = sample("transitions_total", state="offline")
        self.assertEqual(sample("online"), 1)
        await self.world.go_offline()
        self.assertEqual(
            (sample("online"), sample("transitions_total", state="offline")), (0, transitions + 1)
        )
        offline = await self.world.send("GET", f"{PODS}?watch=1", identity=self.world.node)
        await offline.begun
        self.assertEqual((sample("watches", source="upstream"), sample("watches", source="cache")), (0, 2))
        self.assertEqual(sample("requests_in_flight"), 2)

    async def test_what_is_remembered_and_written(self) -> None:
        batches = sample("commits_total", outcome="done"), sample("commit_seconds_count")
        await self.remember("a", "b")
        await until(lambda: sample("commits_total", outcome="done") > batches[0], "a batch is written")
        self.assertGreater(sample("commit_seconds_count"), batches[1])
        await until(lambda: sample("cache_objects") == 2, "the gauges are set")
        self.assertEqual(sample("cache_views"), 1)
        names = len("a" + "b" + "default" * 3)  # two objects' and the list's
        bodies = sum(len(json.dumps(pod(*each))) for each in (("a", 3), ("b", 4)))
        self.assertEqual(sample("cache_bytes"), bodies + names)
        faults = sample("cache_faults_total", reason="body")
        self.upstream.serve(PODS.encode(), list_of([], 30)[:-3])
        await self.world.get(PODS)
        self.assertEqual(sample("cache_faults_total", reason="body"), faults + 1)

    async def test_certificates(self) -> None:
        expiry = sample("certificate_expiry_timestamp_seconds", name=NODE)
        self.assertEqual(expiry, self.world.node.not_after.timestamp())
        (self.world.pairs / "broken.pem").write_text("no certificate")
        assert self.world.lite is not None
        self.world.lite.identities.check()
        self.assertEqual(sample("identity_faults"), 1)
