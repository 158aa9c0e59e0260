"""An API server that is there and in trouble, 429, 500 or slow: clients are told so, it is no outage."""

from __future__ import annotations

import json

from superedge.web.heads import Headers
from tests.liteapiserver.cache.driver import bookmark, event, list_of, pod
from tests.liteapiserver.test_offline import OfflineTestCase
from tests.liteapiserver.test_proxying import PODS
from tests.liteapiserver.world import IMPATIENT, JSON, Response, Seen, reactor, until

BUSY: Headers = [*JSON, (b"Retry-After", b"1"), (b"X-Kubernetes-Pf-Flowschema-Uid", b"1")]
WATCH = f"{PODS}?watch=true&resourceVersion=20"
PIECE = 25
A_WHILE = 0.5
"""Many probes, and longer than one may take."""


def status(code: int, reason: str) -> bytes:
    return json.dumps({"kind": "Status", "apiVersion": "v1", "reason": reason, "code": code}).encode()


class BusyCase(OfflineTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        await self.remember("a")
        self.upstream.answers[PODS.encode()] = self.watched
        self.streams: list[Seen] = []
        self.watching = await self.watch()
        self.outages = 0
        assert self.world.lite is not None
        health = self.world.lite.health
        begin = health.on_offline

        def count() -> None:
            self.outages += 1
            begin()

        health.on_offline = count

    def watched(self, seen: Seen) -> None:
        seen.request.start(200, b"OK", list(JSON), False)
        seen.request.flush()
        self.streams.append(seen)

    async def watch(self) -> Response:
        answer = await self.world.send("GET", WATCH, identity=self.world.node)
        await answer.begun
        return answer

    def tell(self, data: bytes) -> None:
        self.streams[0].request.write([data])
        self.streams[0].request.flush()

    async def check_alive(self) -> None:
        """The watch of before goes on, client and cache hear of what happens, and nobody was offline."""
        self.tell(event("ADDED", pod("late", 30)))
        await until(lambda: b'"late"' in self.watching.body, "the event")
        self.assertFalse(self.watching.over.called)
        self.assertEqual(self.outages, 0)
        await self.world.go_offline()
        answer = await self.world.get(PODS)
        self.assertEqual(self.names(answer), ["a", "late"])
        self.assertTrue(self.stale(answer))


class RefusedTests(BusyCase):
    async def check_refused(self, code: int, reason: str, headers: Headers) -> None:
        body = status(code, reason)
        self.upstream.serve(PODS.encode(), body, code, headers)
        self.upstream.serve(f"{PODS}/a".encode(), body, code, headers)
        end = reactor.seconds() + A_WHILE
        while reactor.seconds() < end:
            for method, path, sent in (
                ("GET", PODS, b""),
                ("GET", f"{PODS}/a", b""),
                ("GET", WATCH, b""),
                ("POST", PODS, b"{}"),
                ("DELETE", f"{PODS}/a", b""),
            ):
                answer = await self.world.ask(method, path, body=sent, identity=self.world.node)
                self.assertEqual((answer.status, answer.body), (code, body))
                for name, value in headers:
                    self.assertEqual(answer.header(name.lower()), value)
            await self.pause(0.05)
        await self.check_alive()

    async def test_429(self) -> None:
        await self.check_refused(429, "TooManyRequests", BUSY)

    async def test_500(self) -> None:
        """As with an etcd that is away, which /readyz says, too."""
        self.upstream.serve(b"/readyz", b"[-]etcd failed", 500, [(b"Content-Type", b"text/plain")])
        await self.check_refused(500, "InternalError", JSON)

    async def test_503_of_an_aggregated_api(self) -> None:
        await self.check_refused(503, "ServiceUnavailable", JSON)

    async def test_429_of_readyz(self) -> None:
        self.upstream.serve(b"/readyz", status(429, "TooManyRequests"), 429, BUSY)
        await self.pause(A_WHILE)
        await self.check_alive()


class SlowTests(BusyCase):
    async def test_long_until_the_first_byte(self) -> None:
        def late(seen: Seen) -> None:
            body = list_of([pod("b", 25)], 26)
            reactor.callLater(A_WHILE, lambda: seen.request.respond(200, list(JSON), body))

        self.upstream.answers[PODS.encode()] = late
        answer = await self.world.get(PODS)
        self.assertEqual(self.names(answer), ["b"])
        self.assertFalse(self.stale(answer))
        self.assertEqual(self.outages, 0)
        await self.world.go_offline()
        self.assertEqual(self.names(await self.world.get(PODS)), ["b"])

    async def test_a_watch_that_trickles(self) -> None:
        frame = event("ADDED", pod("slow", 25))
        for at in range(0, len(frame), 8):
            self.tell(frame[at : at + 8])
            await self.pause(0.02)
        await until(lambda: self.watching.body == frame)
        await self.world.go_offline()
        self.assertEqual(self.names(await self.world.get(PODS)), ["a", "slow"])


class NarrowLinkTests(BusyCase):
    """What trickles takes the whole link: probes fail, and it is proof enough."""

    options = {"timing": IMPATIENT}

    async def test_a_list_that_trickles(self) -> None:
        await self.check_trickling(PODS, list_of([pod("b", 25)], 26))

    async def test_initial_events_that_trickle(self) -> None:
        target = f"{PODS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
        await self.check_trickling(target, event("ADDED", pod("b", 25)) + bookmark(26, end=True))

    async def check_trickling(self, target: str, body: bytes) -> None:
        def trickle(seen: Seen) -> None:
            seen.request.start(200, b"OK", [*JSON, (b"Content-Length", b"%d" % len(body))], True)
            step(seen, 0)

        def step(seen: Seen, at: int) -> None:
            seen.request.write([body[at : at + PIECE]])
            seen.request.flush()
            if at + PIECE < len(body):
                reactor.callLater(0.2, step, seen, at + PIECE)
            else:
                seen.request.finish()

        self.upstream.answers[PODS.encode()] = trickle
        self.upstream.answers[b"/readyz"] = lambda _seen: None
        answer = await self.world.get(target)
        self.assertEqual(answer.body, body)
        self.assertEqual(self.outages, 0)
        del self.upstream.answers[b"/readyz"]
        await self.world.go_offline()
        self.assertEqual(self.names(await self.world.get(PODS)), ["b"])
