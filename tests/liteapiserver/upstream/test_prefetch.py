"""What nobody asked for is there when the cloud is not."""

from __future__ import annotations

import gzip
import json
from typing import Any

from superedge.config.liteapiserver import PrefetchConfig
from superedge.liteapiserver import metrics, service
from superedge.liteapiserver.upstream import prefetch
from superedge.reactor.backoff import Backoff
from superedge.testing.contracts.client import TABLE
from tests.liteapiserver.cache.driver import bookmark, event, list_of, pod
from tests.liteapiserver.test_offline import OfflineTestCase
from tests.liteapiserver.world import JSON, NODE, Seen, until

SERVICES = "/api/v1/services"


class PrefetchTests(OfflineTestCase):
    options = {
        "prefetch": [PrefetchConfig(identity=NODE, paths=[SERVICES, "/version"])],
    }

    async def setUp(self) -> None:  # type: ignore[override]
        self.patch(prefetch, "_MIN_WATCH_INTERVAL", 0.0)
        self.patch(Backoff, "failed", lambda _self, _now: 0.0)
        self.patch(service, "SWEEP_INTERVAL", 0.02)
        self.watches: list[Seen] = []
        self.lists = 0
        self.body = list_of([pod("a", 3), pod("b", 4)], 9, "ServiceList")
        await super().setUp()
        self.upstream.serve(b"/version", b'{"major":"1"}')
        self.upstream.answers[SERVICES.encode()] = self.answer

    def answer(self, seen: Seen) -> None:
        request = seen.request
        if b"watch=true" in seen.target:
            self.watches.append(seen)
            request.start(200, b"OK", list(JSON), False)
            request.flush()
        else:
            self.lists += 1
            request.respond(200, [*JSON, (b"Content-Encoding", b"gzip")], gzip.compress(self.body))

    def send(self, *frames: bytes) -> None:
        self.watches[-1].request.write(list(frames))
        self.watches[-1].request.flush()

    def state(self, path: str = SERVICES) -> Any:
        assert self.world.lite is not None
        (found,) = [each for each in self.world.lite.status()["prefetch"] if each["path"] == path]
        self.assertEqual(found["identity"], NODE)
        return found["state"]

    async def synced(self, watches: int = 1) -> None:
        await until(lambda: len(self.watches) == watches, "watching")

    def known(self) -> list[str]:
        assert self.world.lite is not None
        views = [view for view in self.world.lite.status()["views"] if view["resource"] == "services"]
        return [view["resourceVersion"] for view in views]

    async def test_list_and_watch_survive_an_outage(self) -> None:
        await self.synced()
        await until(lambda: self.state() == "watching")
        self.send(event("ADDED", pod("c", 10)), event("DELETED", pod("a", 11)), bookmark(20))
        await until(lambda: self.known() == ["20"])
        await until(lambda: self.state("/version") == "fresh")
        await self.world.go_offline()
        self.assertEqual(self.names(await self.world.get(SERVICES)), ["b", "c"])
        self.assertEqual(json.loads((await self.world.get("/version")).body), {"major": "1"})
        self.assertEqual((await self.world.ask("GET", SERVICES)).status, 503)  # another identity
        await self.world.stop_lite()
        await self.world.start_lite()
        self.assertEqual(self.names(await self.world.get(SERVICES)), ["b", "c"])
        await self.upstream.start()
        await self.synced(2)
        # It goes on from where it was, without another list.
        self.assertIn(b"resourceVersion=20&", self.watches[-1].target)
        self.assertEqual(self.lists, 1)

    async def test_a_watch_that_ends_is_followed_by_another(self) -> None:
        await self.synced()
        self.send(bookmark(30))
        self.watches[-1].request.finish()
        await self.synced(2)
        self.assertIn(b"resourceVersion=30&", self.watches[-1].target)

    async def test_history_that_is_gone(self) -> None:
        await self.synced()
        self.body = list_of([pod("z", 40)], 50, "ServiceList")
        error = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}\n'
        self.send(error)
        self.watches[-1].request.finish()
        await self.synced(2)
        self.assertIn(b"resourceVersion=50&", self.watches[-1].target)
        gone, self.lists = b'{"kind":"Status","code":410}', 0

        def refuse_once(seen: Seen) -> None:
            if b"watch=true" in seen.target and not self.lists:
                seen.request.respond(410, list(JSON), gone)
            else:
                self.answer(seen)

        self.upstream.answers[SERVICES.encode()] = refuse_once
        self.watches[-1].request.finish()
        await self.synced(3)
        self.assertEqual(self.lists, 1)

    async def test_a_cluster_that_was_restored(self) -> None:
        await self.synced()
        self.send(bookmark(30))
        await until(lambda: self.known() == ["30"])
        await self.world.go_offline()
        self.upstream.revision = 25
        self.body = list_of([pod("z", 20)], 25, "ServiceList")
        await self.upstream.start()
        await self.synced(2)
        self.assertIn(b"resourceVersion=25&", self.watches[-1].target)
        await self.world.go_offline()
        self.assertEqual(self.names(await self.world.get(SERVICES)), ["z"])

    async def test_what_may_not_be_read_is_said_and_tried_again(self) -> None:
        await self.synced()
        self.upstream.serve(SERVICES.encode(), b'{"kind":"Status","code":403}', 403)
        self.watches[-1].request.abort()
        await until(lambda: self.state() == "status 403")
        failing: Any = metrics.PREFETCH_FAILING
        await until(lambda: failing._value.get() == 1)
        self.upstream.answers[SERVICES.encode()] = self.answer
        await self.synced(2)
        await until(lambda: self.state() == "watching")
        await until(lambda: failing._value.get() == 0)

    async def test_filters_tables_and_clients_share_what_it_brings(self) -> None:
        await self.synced()
        await self.world.go_offline()
        answer = await self.world.get(f"{SERVICES}?fieldSelector=metadata.name%3Da")
        self.assertEqual(self.names(answer), ["a"])
        self.assertEqual((await self.world.get("/api/v1/namespaces/default/services/b")).status, 200)
        accept = [(b"Accept", f"{TABLE},application/json".encode())]
        answer = await self.world.ask("GET", SERVICES, accept, identity=self.world.node)
        self.assertEqual(self.names(answer), ["a", "b"])


class SelectorTests(OfflineTestCase):
    PATH = f"{SERVICES}?labelSelector=!x"
    options = {"prefetch": [PrefetchConfig(identity=NODE, paths=[PATH])]}

    async def test_a_path_with_a_selector(self) -> None:
        watches: list[Seen] = []

        def answer(seen: Seen) -> None:
            if b"&watch=true&" in seen.target:
                watches.append(seen)
            else:
                self.assertEqual(seen.target.decode(), self.PATH)
                seen.request.respond(200, list(JSON), list_of([pod("a", 3)], 9, "ServiceList"))

        self.upstream.answers[SERVICES.encode()] = answer
        await until(lambda: watches, "watching")
        self.assertTrue(watches[0].target.startswith(self.PATH.encode() + b"&watch=true&"))
        await self.world.go_offline()
        self.assertEqual(self.names(await self.world.get(self.PATH)), ["a"])
        self.assertEqual((await self.world.get(SERVICES)).status, 503)


class StrangerTests(OfflineTestCase):
    options = {"prefetch": [PrefetchConfig(identity="nobody", paths=[SERVICES])]}

    async def test_an_identity_that_is_not_there(self) -> None:
        assert self.world.lite is not None
        lite = self.world.lite
        await until(lambda: "no upstream identity" in lite.status()["prefetch"][0]["state"])
