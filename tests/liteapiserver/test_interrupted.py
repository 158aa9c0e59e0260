"""Answers that do not come, stop half-way, or come from something that is no API server."""

from __future__ import annotations

import json

from superedge.web.heads import Headers
from tests.liteapiserver.cache.driver import bookmark, event, list_of, pod
from tests.liteapiserver.test_offline import OfflineTestCase
from tests.liteapiserver.test_proxying import PODS
from tests.liteapiserver.world import IMPATIENT, JSON, Seen, until

HTML: Headers = [(b"Content-Type", b"text/html; charset=utf-8")]
PAGE = b"<html><h1>Welcome to Hotel Wifi</h1></html>"
WATCH_LIST = (
    f"{PODS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
)


def silent(_seen: Seen) -> None:
    """A black hole for one request."""


class PortalTests(OfflineTestCase):
    """A captive portal answers everything, with a certificate that is believed."""

    async def test_a_page_is_not_a_list(self) -> None:
        await self.remember("a")
        self.upstream.serve(PODS.encode(), PAGE, 200, HTML)
        await self.check_cached()
        answer = await self.world.ask("POST", PODS, body=b"{}", identity=self.world.node)
        self.assertEqual(answer.status, 504)
        self.upstream.serve(b"/readyz", PAGE, 200, HTML)
        await until(lambda: self.world.state == "offline", "offline")
        await self.check_cached()

    async def test_the_way_to_a_login(self) -> None:
        await self.remember("a")
        for status in (302, 307, 511):
            for path in (PODS.encode(), b"/readyz"):
                self.upstream.serve(path, b"", status, [(b"Location", b"http://hotel.example/login")])
            await self.check_cached()
        await until(lambda: self.world.state == "offline", "offline")

    async def test_pages_of_what_runs_in_pods_pass(self) -> None:
        proxied = "/api/v1/namespaces/default/services/web/proxy/index.html"
        self.upstream.serve(proxied.encode(), PAGE, 200, HTML)
        answer = await self.world.get(proxied)
        self.assertEqual((answer.status, answer.body), (200, PAGE))
        self.upstream.serve(proxied.encode(), b"", 302, [(b"Location", b"/elsewhere")])
        self.assertEqual((await self.world.get(proxied)).status, 302)
        self.assertEqual(self.world.state, "online")


class HalfAnswerTests(OfflineTestCase):
    """The cloud vanishes, without a word, in the middle of an answer."""

    options = {"timing": IMPATIENT}

    def begin_and_stop(self, *pieces: bytes, path: str = PODS) -> None:
        def begin(seen: Seen) -> None:
            seen.request.start(200, b"OK", list(JSON), False)
            seen.request.write(list(pieces))
            seen.request.flush()

        self.upstream.answers[path.encode()] = begin
        self.upstream.answers[b"/readyz"] = silent

    async def test_a_list(self) -> None:
        await self.remember("a")
        self.begin_and_stop(list_of([pod("b", 30)], 40)[:-9])
        answer = await self.world.get(PODS)
        self.assertEqual(answer.heads[-1].status, 200)
        self.assertNotEqual(await answer.over, "")  # cut, so that the client asks again
        await self.check_cached()

    async def test_a_list_that_goes_on_is_waited_for(self) -> None:
        """An answer that fills the link keeps probes from getting through."""
        self.begin_and_stop(b"{", b" " * 100)
        answer = await self.world.send("GET", PODS, identity=self.world.node)
        await until(lambda: answer.body.startswith(b"{"))
        (seen,) = self.upstream.seen
        for _ in range(30):
            size = len(answer.body)
            seen.request.write([b" " * 100])
            seen.request.flush()
            await until(lambda size=size: len(answer.body) > size)  # type: ignore[misc]
            await self.pause(0.05)
        self.assertEqual(self.world.state, "online")
        seen.request.write([b"}"])
        seen.request.finish()
        self.assertEqual(await answer.over, "")

    async def test_a_watch_list_before_its_end_bookmark(self) -> None:
        await self.remember("a")
        self.begin_and_stop(event("ADDED", pod("b", 30)))
        answer = await self.world.send("GET", WATCH_LIST, identity=self.world.node)
        self.assertNotEqual(await answer.over, "")
        again = await self.world.send("GET", WATCH_LIST, identity=self.world.node)
        await until(lambda: b"initial-events-end" in again.body, "the client syncs from the cache")
        self.assertEqual(json.loads(again.body.splitlines()[0])["object"]["metadata"]["name"], "a")

    async def test_a_watch_list_cut_while_offline(self) -> None:
        await self.remember("a")
        self.begin_and_stop(event("ADDED", pod("b", 30)), event("ADDED", pod("c", 31)))
        answer = await self.world.send("GET", WATCH_LIST, identity=self.world.node)
        await answer.begun
        self.upstream.stop()
        self.assertNotEqual(await answer.over, "")

    async def test_a_watch_list_after_its_end_bookmark_stays_open(self) -> None:
        self.begin_and_stop(event("ADDED", pod("b", 30)), bookmark(30, end=True))
        answer = await self.world.send("GET", WATCH_LIST, identity=self.world.node)
        await until(lambda: self.world.state == "offline", "offline")
        self.upstream.stop()
        await self.world.get(PODS)
        self.assertFalse(answer.over.called)

    async def test_a_watch_whose_connection_alone_is_lost_ends_at_once(self) -> None:
        def begin(seen: Seen) -> None:
            seen.request.start(200, b"OK", list(JSON), False)
            seen.request.write([event("ADDED", pod("b", 30))])
            seen.request.flush()

        self.upstream.answers[PODS.encode()] = begin
        answer = await self.world.send("GET", f"{PODS}?watch=true", identity=self.world.node)
        await until(lambda: answer.body)
        self.upstream.seen[0].request.transport.abortConnection()
        self.assertEqual(await answer.over, "")
        self.assertEqual(self.world.state, "online")

    async def test_a_watch_that_one_failure_alone_kept_from_the_cloud_ends_at_once(self) -> None:
        """The cache answers it, and the cloud is there all the time: nothing else would end it for long."""
        await self.remember("a")

        def refuse_once(seen: Seen) -> None:
            self.upstream.serve(PODS.encode(), list_of([pod("a", 3)], 20))
            seen.request.respond(503, [(b"Content-Type", b"text/html")], PAGE)

        self.upstream.answers[PODS.encode()] = refuse_once
        watch = f"{PODS}?watch=true&resourceVersion=20&timeoutSeconds=300"
        answer = await self.world.send("GET", watch, identity=self.world.node)
        await until(lambda: answer.over.called, "the watch ends")
        self.assertEqual((await answer.over, answer.status, self.world.state), ("", 200, "online"))
        self.assertTrue(self.stale(answer))

    async def test_logs_are_left_to_their_reader(self) -> None:
        log = f"{PODS}/a/log"
        self.begin_and_stop(b"line\n", path=log)
        answer = await self.world.send("GET", f"{log}?follow=true", identity=self.world.node)
        await until(lambda: self.world.state == "offline", "offline")
        self.assertEqual((answer.body, answer.over.called), (b"line\n", False))
