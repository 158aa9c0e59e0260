"""The cloud speaks HTTP/2: the same contract, fewer connections."""

from __future__ import annotations

from typing import Any

from superedge.web.heads import Headers
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

    async def test_a_stalled_client_stalls_no_other(self) -> None:
        stalled, other = await self.watch(2)
        assert stalled.connection is not None
        stalled.connection.transport.pauseProducing()
        first, second = (seen.request for seen in self.upstream.seen)
        event = b"x" * 100_000
        for _ in range(100):
            first.write([event])
        first.flush()
        for _ in range(20):
            second.write([event])
            second.flush()
        await until(lambda: len(other.body) == 20 * len(event))
        stalled.connection.transport.resumeProducing()
        await until(lambda: len(stalled.body) == 100 * len(event))

    async def test_an_outage(self) -> None:
        watch = (await self.watch(1))[0]
        await self.world.go_offline()
        self.assertFalse(watch.over.called)
        await self.upstream.start()
        await until(lambda: self.world.state == "online", "online")
        await watch.over  # held until then; the client asks anew
        self.assertEqual((await self.watch(1))[0].status, 200)
        self.assertEqual(self.shared, 2)

    async def test_a_refused_watch_is_tried_again_once(self) -> None:
        def refuse(seen: Seen) -> None:
            request: Any = seen.request
            request.refuse()
            self.upstream.answers[PODS.encode()] = self.begin

        self.upstream.answers[PODS.encode()] = refuse
        self.assertEqual((await self.watch(1))[0].status, 200)
        self.assertEqual(len(self.upstream.seen), 2)

    async def test_an_identity_that_is_taken_away(self) -> None:
        watch = (await self.watch(1))[0]
        self.world.node.certificate.unlink()
        assert self.world.lite is not None
        self.world.lite.identities.check()
        await watch.over
        self.assertFalse(self.upstream.factory.shared)
