"""The cloud returns for a moment: what comes whole counts, what does not takes nothing away."""

from __future__ import annotations

from tests.liteapiserver.cache.driver import list_of, pod
from tests.liteapiserver.test_offline import OfflineTestCase
from tests.liteapiserver.test_proxying import PODS
from tests.liteapiserver.world import JSON, Seen, until

EXPIRED = b'{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","code":410,"reason":"Expired"}}\n'
FORBIDDEN = b'{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}'


class ReturnTests(OfflineTestCase):
    def cut(self, seen: Seen) -> None:
        """An answer of which half arrives."""
        if b"watch=true" in seen.target:
            seen.request.start(200, b"OK", list(JSON), False)
            seen.request.write([EXPIRED])
            seen.request.finish()
            return
        body = list_of([pod(f"p{number}", 30) for number in range(1000)], 40)
        seen.request.start(200, b"OK", [*JSON, (b"Content-Length", b"%d" % len(body))], True)
        seen.request.write([body[:30_000]])
        seen.request.flush()
        seen.request.abort()

    async def test_a_list_of_before_survives_it(self) -> None:
        await self.remember("a", "b", "c")
        await self.world.go_offline()
        self.upstream.answers[PODS.encode()] = self.cut
        await self.upstream.start()
        await until(lambda: self.world.state == "online")
        for target in (f"{PODS}?watch=true&resourceVersion=1", f"{PODS}?watch=true&resourceVersion=20", PODS):
            await self.world.get(target)
        await self.world.go_offline()
        self.assertEqual(self.names(await self.world.get(PODS)), ["a", "b", "c"])
        await self.world.stop_lite()
        await self.world.start_lite()
        self.assertEqual(self.names(await self.world.get(PODS)), ["a", "b", "c"])

    async def test_a_403_of_a_server_that_starts_takes_nothing(self) -> None:
        """It refuses what it will allow, until its informers are synced."""
        await self.remember("a", "b", "c")
        assert self.world.lite is not None
        health = self.world.lite.health
        self.upstream.serve(b"/readyz", b"informers are not synced", 500, [])
        health.probe_soon()
        await until(lambda: health.reason, "not ready")
        self.assertEqual(health.state, "online")
        self.upstream.serve(PODS.encode(), FORBIDDEN, 403)
        self.assertEqual((await self.world.get(PODS)).status, 403)
        await self.world.go_offline()
        self.assertEqual(self.names(await self.world.get(PODS)), ["a", "b", "c"])

    async def test_a_403_does_not(self) -> None:
        await self.remember("a", "b", "c")
        self.upstream.serve(PODS.encode(), FORBIDDEN, 403)
        self.assertEqual((await self.world.get(PODS)).status, 403)
        await self.world.go_offline()
        self.assertEqual((await self.world.get(PODS)).status, 403)
        await self.world.stop_lite()
        await self.world.start_lite()
        self.assertEqual((await self.world.get(PODS)).status, 403)
        self.assertNotEqual((await self.world.get(f"{PODS}/a")).status, 200)
        await self.upstream.start()
        await until(lambda: self.world.state == "online")
        await self.remember("d")
        await self.world.go_offline()
        self.assertEqual(self.names(await self.world.get(PODS)), ["d"])
