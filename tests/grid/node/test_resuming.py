"""Clients that resume: nothing that changed meanwhile is lost."""

from __future__ import annotations

from superedge.kube.media import JSON, PROTOBUF
from tests.grid.node.case import FAR, SITE, GridCase, on
from tests.grid.node.client import Reflector
from tests.grid.node.fakeapi import NODES, SERVICES, SLICES
from tests.liteapiserver.world import until

NEAR = {"web-1": on("edge-1", "edge-2")}
FORMS = (JSON, PROTOBUF)


class ResumingTests(GridCase):
    async def client(self, form: str = PROTOBUF, bookmarks: bool = True) -> Reflector:
        self.service("web", SITE)
        self.slice("web-1", "web", *FAR)
        client = Reflector(self.world, form, bookmarks=bookmarks)
        await client.start()
        await client.until(NEAR)
        return client

    async def test_a_label_changes_while_the_client_is_away(self) -> None:
        for form in FORMS:
            for bookmarks in (True, False):
                client = await self.client(form, bookmarks)
                client.leave()
                other = Reflector(self.world, form)
                await other.start()
                self.label("far-1", "near")
                moved = {"web-1": on("edge-1", "edge-2", "far-1")}
                await other.until(moved)
                self.assertEqual(await client.watch(), 200)
                await client.until(moved)
                self.assertEqual(client.lists, 1)
                self.label("far-1", "far")
                await client.until(NEAR)
                other.leave()
                client.leave()

    async def test_what_is_followed_comes_late(self) -> None:
        """A list at a version that the Services have not reached here: the change is told from there on."""
        client = await self.client()
        client.leave()
        self.api.slow = {SERVICES, NODES}
        self.service("web")
        self.slice("web-2", "web", "far-2")
        await client.relist()
        self.assertEqual(client.shown, {**NEAR, "web-2": []})
        self.assertEqual(int(client.version), self.api.version)
        self.api.catch_up()
        other = Reflector(self.world, PROTOBUF)
        await other.start()
        everything = {"web-1": on(*FAR), "web-2": on("far-2")}
        await other.until(everything)
        self.assertEqual(await client.watch(), 200)
        await client.until(everything)

    async def test_a_slice_told_again_moves_nobody_back_past_a_change(self) -> None:
        """Without bookmarks the client resumes from the old version of what it was told last."""
        client = await self.client(bookmarks=False)
        self.slice("web-2", "web", "edge-2", "far-2")
        await client.until({**NEAR, "web-2": on("edge-2")})
        self.api.delete(SLICES, "web-2", "default")
        await client.until(NEAR)
        self.label("far-1", "near")
        moved = {"web-1": on("edge-1", "edge-2", "far-1")}
        await client.until(moved)
        told = self.api.objects[SLICES]["default", "web-1"]["metadata"]["resourceVersion"]
        self.assertEqual(client.version, told, "it is back at the slice's own version")
        client.leave()
        self.assertEqual(await client.watch(), 200)

        def deletions() -> int:
            client.read()
            return [event[:2] for event in client.events].count(("DELETED", "web-2"))

        await until(lambda: deletions() == 2, "what happened since then happens again")
        await client.until(moved)

    async def test_a_restart(self) -> None:
        for bookmarks in (True, False):
            client = await self.client(bookmarks=bookmarks)
            await self.world.stop_lite()
            self.label("far-1", "near")
            await self.world.start_lite()
            await client.until({"web-1": on("edge-1", "edge-2", "far-1")})
            self.assertEqual(client.lists, 1, "resumed, not listed again")
            self.label("far-1", "far")
            await client.until(NEAR)
            client.leave()

    async def test_a_reboot_in_an_outage(self) -> None:
        for streaming in (False, True):
            client = Reflector(self.world, PROTOBUF, streaming=streaming)
            await self.client(JSON)
            await client.start()
            await client.until(NEAR)
            await self.outage()
            self.assertTrue(client.holds(NEAR))
            await self.restart()
            await until(lambda: self.world.state == "offline")
            client = Reflector(self.world, PROTOBUF, streaming=streaming)
            await client.start()
            await client.until(NEAR)
            self.label("far-1", "near")
            await self.recovery()
            await client.until({"web-1": on("edge-1", "edge-2", "far-1")})
            self.label("far-1", "far")
            await client.until(NEAR)
            client.leave()

    async def test_too_old(self) -> None:
        client = await self.client()
        client.leave()
        self.label("far-1", "near")
        self.api.oldest = self.api.version
        await client.start()
        await client.until({"web-1": on("edge-1", "edge-2", "far-1")})
        self.assertEqual(client.lists, 2)

    async def test_a_watch_from_a_list_that_was_not_seen_here(self) -> None:
        """The cache does not have what the client has: it is listed for this watch."""
        self.service("web", SITE)
        self.slice("web-1", "web", *FAR)
        await until(lambda: self.followed)
        client = Reflector(self.world, PROTOBUF)
        client.version, client.synced = str(self.api.version), True
        client.shown = {"web-1": on(*FAR)}
        await client.start()
        await client.until(NEAR)
        self.label("far-1", "near")
        await client.until({"web-1": on("edge-1", "edge-2", "far-1")})


class MissingTests(GridCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        await until(lambda: self.followed)

    async def test_nothing_is_shown_before_everything_that_is_followed_is_known(self) -> None:
        await self.world.stop_lite()
        self.upstream.stop()
        self.world.store = "memory"
        await self.world.start_lite()
        await until(lambda: self.world.state == "offline")
        answer = await self.world.get(SLICES)
        self.assertEqual(answer.status, 503)
        self.assertIn(b"services, which a response filter follows as 'system:node:edge-1'", answer.body)
        self.assertNotEqual((await self.world.get(NODES)).status, 200)
        await self.recovery()
        self.service("web", SITE)
        self.slice("web-1", "web", *FAR)
        client = Reflector(self.world, JSON)
        await client.start()
        await client.until(NEAR)

    async def test_what_is_followed_is_evicted_last(self) -> None:
        """Without the cloud no watch keeps it in the cache, but its use does."""
        await self.outage()
        assert self.world.lite is not None
        views = [
            view
            for collection in self.world.lite.cache.collections()
            if collection.key.resource in ("services", "nodes")
            for view in collection.views.values()
        ]
        self.assertEqual(len(views), 2)
        for view in views:
            view.used = 0.0
        await until(lambda: all(view.used for view in views))
