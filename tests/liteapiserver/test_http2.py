"""The cloud speaks HTTP/2: the same contract, fewer connections."""

from __future__ import annotations

from superedge.web.h1 import Headers
from tests.liteapiserver import test_proxying
from tests.liteapiserver.test_proxying import PODS, ProxyTestCase
from tests.liteapiserver.world import JSON, NODE, Response, Seen, until


class ForwardingTests(test_proxying.ForwardingTests):
    options = {"http2": "all"}

    async def test_headers_both_ways(self) -> None:
        """As over HTTP/1.1, but HTTP/2 has names in lower case alone."""
        self.upstream.serve(PODS.encode(), b"{}", headers=[*JSON, (b"X-Kept", b"a"), (b"x-kept", b"b")])
        sent: Headers = [
            (b"Accept", b"application/vnd.kubernetes.protobuf, application/cbor, application/json"),
            (b"Connection", b"keep-alive, X-Mine"),
            (b"X-Mine", b"private"),
            (b"Impersonate-User", b"someone"),
            (b"TE", b"trailers"),
        ]
        answer = await self.world.ask("GET", PODS, sent, identity=self.world.node)
        self.assertEqual(
            answer.heads[0].headers,
            [
                (b"content-type", b"application/json"),
                (b"audit-id", b"1"),
                (b"x-kept", b"a"),
                (b"x-kept", b"b"),
                (b"content-length", b"2"),
            ],
        )
        self.assertEqual(
            self.upstream.seen[0].request.head.headers,
            [
                (b"Host", b"127.0.0.1:%d" % self.upstream.number),
                (b"Accept", b"application/vnd.kubernetes.protobuf, application/json"),
                (b"Impersonate-User", b"someone"),
            ],
        )
        self.assertEqual(self.upstream.factory.chosen.count("h2"), 1)

    async def test_chunks_and_trailers_stream(self) -> None:
        def begin(seen: Seen) -> None:
            seen.request.start(200, b"OK", list(JSON), False)
            seen.request.write([b"first"])
            seen.request.flush()

        self.upstream.answers[b"/stream"] = begin
        answer = await self.world.send("GET", "/stream", identity=self.world.node)
        await until(lambda: answer.body == b"first")
        request = self.upstream.seen[0].request
        request.write([b"second"])
        request.finish([(b"X-Sum", b"1")])
        self.assertEqual(await answer.over, "")
        self.assertEqual((answer.body, answer.trailers), (b"firstsecond", [(b"x-sum", b"1")]))


class IdentityTests(test_proxying.IdentityTests):
    options = {"http2": "all"}


class WatchTests(ProxyTestCase):
    options = {"http2": "watches"}

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.upstream.answers[PODS.encode()] = self.begin

    def begin(self, seen: Seen) -> None:
        seen.request.start(200, b"OK", list(JSON), False)
        seen.request.flush()

    async def watch(self, count: int) -> list[Response]:
        watches = [
            await self.world.send("GET", f"{PODS}?watch=1&n={number}", identity=self.world.node)
            for number in range(count)
        ]
        for watch in watches:
            await watch.begun
        return watches

    @property
    def shared(self) -> int:
        return self.upstream.factory.chosen.count("h2")

    async def test_many_watches_share_connections_with_room(self) -> None:
        self.upstream.factory.largest = 10
        watches = await self.watch(25)
        self.assertEqual(self.shared, 3)
        self.assertEqual({seen.name for seen in self.upstream.seen}, {NODE})
        for seen in self.upstream.seen:
            seen.request.write([seen.target])
            seen.request.flush()
        await until(lambda: all(watch.body for watch in watches))
        self.assertEqual(
            [watch.body for watch in watches], [f"{PODS}?watch=1&n={n}".encode() for n in range(25)]
        )

    async def test_the_rest_has_connections_of_its_own(self) -> None:
        self.upstream.serve(b"/x", b"ok")
        await self.world.get("/x")
        self.assertEqual(self.shared, 0)
