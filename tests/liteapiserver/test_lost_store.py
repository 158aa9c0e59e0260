"""The cache directory is removed under a running process."""

from __future__ import annotations

import json
import shutil
import stat

from superedge.liteapiserver import service
from tests.liteapiserver.access.test_credentials import ACCOUNT, jwt
from tests.liteapiserver.access.test_tokens import in_json
from tests.liteapiserver.cache.driver import list_of, pod
from tests.liteapiserver.test_offline import OfflineTestCase
from tests.liteapiserver.test_proxying import PODS
from tests.liteapiserver.world import until

BEARER = (b"Authorization", jwt(sub=ACCOUNT, iss="k8s", exp=99_999_999_999))
TOKEN = "/api/v1/namespaces/default/serviceaccounts/web/token"
VERSION = {"major": "1"}
MISSING = f"{PODS}/missing"


class LostDirectoryTests(OfflineTestCase):
    def setUp(self) -> object:  # type: ignore[override]
        self.patch(service, "STORE_CHECK_INTERVAL", 0.05)
        return super().setUp()

    async def test_everything_is_written_anew(self) -> None:
        await self.remember("a", "b")
        self.upstream.serve(TOKEN.encode(), in_json(BEARER[1].split()[1].decode()), 201)
        self.upstream.serve(b"/version", json.dumps(VERSION).encode())
        self.upstream.serve(b"/api/v1/nodes", list_of([pod("n", 3)], 9, "NodeList"))
        await self.world.ask("POST", TOKEN, body=b"pod a", identity=self.world.node)
        await self.world.ask("GET", PODS, [BEARER])
        for target in ("/version", MISSING, "/api/v1/nodes"):
            await self.world.get(target)
        directory = self.world.directory / "cache"
        await until(lambda: self.lite_status()["pending_changes"] == 0)
        self.assertGreater((directory / "journal").stat().st_size, 0)
        shutil.rmtree(directory)
        await until(lambda: (directory / "journal").exists(), "a new journal")
        await until(lambda: not self.lite_status()["degraded"], "it takes changes")
        self.assertEqual(stat.S_IMODE(directory.stat().st_mode), 0o700)
        await self.world.stop_lite()
        self.upstream.stop()
        await self.world.start_lite()
        self.assertEqual(self.names(await self.world.get(PODS)), ["a", "b"])
        self.assertEqual(self.names(await self.world.get("/api/v1/nodes")), ["n"])
        self.assertEqual(self.names(await self.world.ask("GET", PODS, [BEARER])), ["a", "b"])
        self.assertEqual((await self.world.get(MISSING)).status, 404)
        self.assertEqual(json.loads((await self.world.get("/version")).body), VERSION)
        answer = await self.world.ask("POST", TOKEN, body=b"pod a", identity=self.world.node)
        self.assertEqual(answer.status, 201, "its key was written anew, too")

    def lite_status(self) -> dict[str, object]:
        assert self.world.lite is not None
        store: dict[str, object] = self.world.lite.status()["store"]
        return store


class LostDatabaseTests(LostDirectoryTests):
    options = {"store": "sqlite"}

    async def test_everything_is_written_anew(self) -> None:
        await self.remember("a", "b")
        directory = self.world.directory / "cache"
        await until(lambda: self.lite_status()["pending_changes"] == 0)
        shutil.rmtree(directory)
        await until(lambda: (directory / "cache.sqlite").exists(), "a new database")
        await until(lambda: not self.lite_status()["degraded"], "it takes changes")
        await self.world.stop_lite()
        self.upstream.stop()
        await self.world.start_lite()
        self.assertEqual(self.names(await self.world.get(PODS)), ["a", "b"])
