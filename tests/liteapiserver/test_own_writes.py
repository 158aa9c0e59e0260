"""A client's writes, through lite-apiserver, and what it is told of them during an outage."""

from __future__ import annotations

import json

from tests.liteapiserver.cache.driver import pod, typed
from tests.liteapiserver.test_offline import OfflineTestCase
from tests.liteapiserver.test_proxying import PODS
from tests.liteapiserver.world import JSON, Seen

SUCCESS = b'{"kind":"Status","apiVersion":"v1","status":"Success"}'


class OwnWriteTests(OfflineTestCase):
    async def write(self, method: str, target: str, body: bytes, answer: bytes, cut: int = 0) -> None:
        def respond(seen: Seen) -> None:
            headers = [*JSON, (b"Content-Length", b"%d" % len(answer))]
            seen.request.start(200, b"OK", headers, True)
            seen.request.write([answer[: len(answer) - cut]])
            seen.request.flush()
            if cut:
                seen.request.abort()
            else:
                seen.request.finish()

        self.upstream.answers[target.partition("?")[0].encode()] = respond
        await self.world.ask(method, target, [], body, identity=self.world.node)

    async def test_created_changed_and_deleted(self) -> None:
        await self.remember("a", "b", "c")
        await self.write("POST", PODS, b"{}", json.dumps(typed(pod("d", 30))).encode())
        await self.write("PATCH", f"{PODS}/c", b"{}", json.dumps(typed(pod("c", 31, app="x"))).encode())
        await self.write("DELETE", f"{PODS}/a", b"", SUCCESS)
        await self.write("DELETE", f"{PODS}/b", b'{"dryRun":["All"]}', SUCCESS)
        await self.write("PUT", f"{PODS}/c", b"{}", json.dumps(typed(pod("c", 40))).encode(), cut=5)
        await self.world.go_offline()
        answer = await self.world.get(PODS)
        self.assertEqual(self.names(answer), ["b", "c", "d"])
        labels = [item["metadata"].get("labels") for item in json.loads(answer.body)["items"]]
        self.assertEqual(labels, [None, {"app": "x"}, None])
        self.assertEqual((await self.world.get(f"{PODS}/a")).status, 404)
        await self.world.stop_lite()
        await self.world.start_lite()
        self.assertEqual(self.names(await self.world.get(PODS)), ["b", "c", "d"])

    async def test_options_that_are_too_long(self) -> None:
        await self.remember("a")
        await self.write("DELETE", f"{PODS}/a", b" " * 100_000 + b'{"dryRun":["All"]}', SUCCESS)
        await self.world.go_offline()
        self.assertEqual(self.names(await self.world.get(PODS)), ["a"])
