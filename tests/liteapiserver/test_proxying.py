"""Online: requests and answers pass as they are, with the caller's own rights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from superedge.web.heads import Headers
from tests.liteapiserver.world import JSON, NODE, Seen, World, reactor, until
from tests.producers import Producer

PODS = "/api/v1/namespaces/default/pods"


class ProxyTestCase(TestCase):
    options: dict[str, Any] = {}

    async def setUp(self) -> None:  # type: ignore[override]
        self.world = World(Path(self.mktemp()), **self.options)
        self.upstream = self.world.upstream
        self.addCleanup(lambda: Deferred.fromCoroutine(self.world.stop()))
        await self.world.start()

    async def pause(self, seconds: float) -> None:
        """Let time pass for which only the clock stands."""
        await deferLater(reactor, seconds)


class ForwardingTests(ProxyTestCase):
    async def test_every_verb_with_its_body(self) -> None:
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            self.upstream.serve(b"/apis/a.io/v1/x", method.encode() + os.urandom(10), 201)
            body = os.urandom(100_000)
            answer = await self.world.ask(
                method, "/apis/a.io/v1/x?dryRun=All", body=body, identity=self.world.node
            )
            seen = self.upstream.seen[-1]
            self.assertEqual((answer.status, answer.body[: len(method)]), (201, method.encode()))
            self.assertEqual(
                (seen.request.head.method, seen.target), (method.encode(), b"/apis/a.io/v1/x?dryRun=All")
            )
            self.assertEqual(b"".join(seen.body), body)

    async def test_headers_both_ways(self) -> None:
        headers = [*JSON, (b"X-Kept", b"a"), (b"x-kept", b"b"), (b"Keep-Alive", b"5"), (b"ETag", b'"1"')]
        self.upstream.serve(PODS.encode(), b"{}", headers=headers)
        sent: Headers = [
            (b"Accept", b"application/vnd.kubernetes.protobuf, application/cbor, application/json"),
            (b"User-Agent", b"kubelet/v1.37"),
            (b"Connection", b"keep-alive, X-Mine"),
            (b"X-Mine", b"private"),
            (b"Impersonate-User", b"someone"),
            (b"TE", b"trailers"),
        ]
        answer = await self.world.ask("GET", PODS, sent, identity=self.world.node)
        received = [pair for pair in answer.heads[0].headers if pair[0] != b"Content-Length"]
        self.assertEqual(received, [pair for pair in headers if pair[0] != b"Keep-Alive"])
        self.assertEqual(
            self.upstream.seen[0].request.head.headers,
            [
                (b"Host", b"127.0.0.1:%d" % self.upstream.number),
                (b"Accept", b"application/vnd.kubernetes.protobuf, application/json"),
                (b"User-Agent", b"kubelet/v1.37"),
                (b"Impersonate-User", b"someone"),
            ],
        )

    async def test_head_and_no_content(self) -> None:
        def head(seen: Seen) -> None:
            seen.request.start(200, b"OK", [(b"Content-Length", b"1000")], True)
            seen.request.finish()

        self.upstream.answers[b"/head"] = head
        self.upstream.serve(b"/none", b"", 200)
        connection = await self.world.connect(self.world.node)
        for _ in range(2):
            answer = await self.world.ask("HEAD", "/head", connection=connection)
            self.assertEqual(
                (answer.status, answer.header(b"content-length"), answer.body), (200, b"1000", b"")
            )
            answer = await self.world.ask("GET", "/none", connection=connection)
            self.assertEqual((answer.status, answer.body), (200, b""))

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
        self.assertEqual((answer.body, answer.trailers), (b"firstsecond", [(b"X-Sum", b"1")]))

    async def test_expect_continue(self) -> None:
        def early(seen: Seen) -> None:
            if any(name.lower() == b"expect" for name, _ in seen.request.head.headers):
                seen.request.interim(b"HTTP/1.1 100 Continue\r\n\r\n")
                seen.done.addCallback(lambda body: seen.request.respond(201, list(JSON), body))

        self.upstream.early[b"/expect"] = early
        headers = [(b"Expect", b"100-continue"), (b"Content-Length", b"4")]
        answer = await self.world.send("POST", "/expect", headers, identity=self.world.node)
        await until(lambda: answer.heads)
        self.assertEqual(answer.status, 100)
        assert answer.connection is not None
        answer.connection.transport.write(b"body")
        await answer.over
        self.assertEqual((answer.status, answer.body), (201, b"body"))

    async def test_chunked_request(self) -> None:
        self.upstream.answers[b"/up"] = lambda seen: seen.request.respond(
            200, list(JSON), b"".join(seen.body)
        )
        connection = await self.world.connect(self.world.node)
        answer = await self.world.send(
            "POST", "/up", [(b"Transfer-Encoding", b"chunked")], connection=connection
        )
        connection.transport.write(b"3\r\nabc\r\n")
        await until(lambda: self.upstream.seen and self.upstream.seen[0].body)
        connection.transport.write(b"2\r\nde\r\n0\r\nx-sum: 5\r\n\r\n")
        await answer.over
        self.assertEqual(answer.body, b"abcde")
        (body,) = (body for body in self.upstream.bodies if body.seen.target == b"/up")
        self.assertEqual(body.trailers, [(b"x-sum", b"5")])

    async def test_switching_protocols(self) -> None:
        class Echo(Protocol):
            def dataReceived(self, data: bytes) -> None:
                transport: Any = self.transport
                transport.write(data.upper())

        def switch(seen: Seen) -> None:
            head = (
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\nhello "
            )
            transport = seen.request.transport
            early = seen.request.hijack(head)
            transport.protocol = Echo()
            transport.protocol.makeConnection(transport)
            transport.protocol.dataReceived(early)

        self.upstream.early[f"{PODS}/a/exec".encode()] = switch
        answer = await self.world.send(
            "POST",
            f"{PODS}/a/exec?command=sh",
            [(b"Connection", b"Upgrade"), (b"Upgrade", b"SPDY/3.1")],
            identity=self.world.node,
        )
        await answer.over
        self.assertEqual((answer.heads[0].status, answer.header(b"upgrade")), (101, b"SPDY/3.1"))
        received: list[bytes] = [answer.switched_with or b""]

        class Collect(Protocol):
            def dataReceived(self, data: bytes) -> None:
                received.append(data)

        assert answer.connection is not None
        transport = answer.connection.transport
        transport.protocol = Collect()
        transport.protocol.makeConnection(transport)
        transport.write(b"big" * 100_000)
        await until(lambda: len(b"".join(received)) == 300_006)
        self.assertEqual(b"".join(received), b"hello " + b"BIG" * 100_000)
        transport.abortConnection()

    async def test_switch_that_is_refused(self) -> None:
        self.upstream.serve(f"{PODS}/a/exec".encode(), b"no", 403)
        answer = await self.world.ask(
            "POST",
            f"{PODS}/a/exec",
            [(b"Connection", b"Upgrade"), (b"Upgrade", b"SPDY/3.1")],
            identity=self.world.node,
        )
        self.assertEqual((answer.status, answer.body), (403, b"no"))

    async def test_a_request_with_a_body_does_not_switch(self) -> None:
        """On a connection that others use, too, its body would be the beginning of the next request."""
        switch = [(b"Connection", b"Upgrade"), (b"Upgrade", b"SPDY/3.1")]
        await self.world.ask("GET", PODS, switch, b"body", identity=self.world.node)
        (seen,) = self.upstream.seen
        self.assertEqual((b"".join(seen.body), seen.request.head.upgrade), (b"body", False))
        self.assertNotIn(b"upgrade", [name.lower() for name, _ in seen.request.head.headers])

    async def test_slow_client_holds_the_server_back(self) -> None:
        written = 0

        source = Producer()

        def begin(seen: Seen) -> None:
            seen.request.start(200, b"OK", list(JSON), False)
            seen.request.flush()
            seen.request.throttle(source)

        self.upstream.answers[b"/big"] = begin
        answer = await self.world.send("GET", "/big", identity=self.world.node)
        await answer.begun
        assert answer.connection is not None
        answer.connection.transport.pauseProducing()
        request = self.upstream.seen[0].request
        while not source.paused:
            request.write([b"x" * 100_000])
            request.flush()
            written += 100_000
            await deferLater(reactor, 0)
            self.assertLess(written, 100_000_000)
        answer.connection.transport.resumeProducing()
        await until(lambda: not source.paused and len(answer.body) == written)
        request.finish()
        self.assertEqual(await answer.over, "")

    async def test_a_client_that_leaves_ends_the_request_upstream(self) -> None:
        self.upstream.answers[b"/watch"] = lambda seen: None
        answer = await self.world.send("GET", "/watch", identity=self.world.node)
        await until(lambda: self.upstream.seen)
        assert answer.connection is not None
        answer.connection.transport.abortConnection()
        body = next(body for body in self.upstream.bodies if body.seen.target == b"/watch")
        await until(lambda: body.lost, "the server hears of it")
        await answer.over

    async def test_a_body_cut_short_is_cut_short_for_the_client(self) -> None:
        def begin(seen: Seen) -> None:
            seen.request.start(200, b"OK", [*JSON, (b"Content-Length", b"100")], True)
            seen.request.write([b"{"])
            seen.request.flush()
            reactor.callLater(0.05, seen.request.transport.abortConnection)

        self.upstream.answers[PODS.encode()] = begin
        answer = await self.world.get(PODS)
        self.assertEqual(answer.body, b"{")
        self.assertNotEqual(await answer.over if not answer.over.called else answer.over.result, "")


class ConnectionTests(ProxyTestCase):
    async def test_connections_are_used_again(self) -> None:
        self.upstream.serve(b"/x", b"ok")
        for _ in range(5):
            await self.world.get("/x")
        transports = {seen.request.transport for seen in self.upstream.seen}
        self.assertEqual(len(transports), 1)

    async def test_a_kept_connection_that_the_server_closes_as_we_write(self) -> None:
        self.upstream.serve(b"/x", b"ok")
        await self.world.get("/x")

        def drop(seen: Seen) -> None:
            seen.request.transport.abortConnection()
            self.upstream.serve(b"/x", b"again")

        self.upstream.answers[b"/x"] = drop
        self.assertEqual((await self.world.get("/x")).body, b"again")
        self.upstream.answers[b"/x"] = drop
        answer = await self.world.ask("POST", "/x", body=b"once", identity=self.world.node)
        self.assertEqual(answer.status, 504)
        self.assertEqual([seen.request.head.method for seen in self.upstream.seen].count(b"POST"), 1)
        await self.world.get("/x")
        self.upstream.answers[b"/x"] = drop
        before = len(self.upstream.seen)
        answer = await self.world.ask("GET", "/x", body=b"a body is sent once", identity=self.world.node)
        self.assertEqual((answer.status, len(self.upstream.seen)), (503, before + 1))

    async def test_pipelined_requests(self) -> None:
        for number in range(3):
            self.upstream.serve(b"/%d" % number, b"%d" % number)
        connection = await self.world.connect(self.world.node)
        answer = await self.world.send("GET", "/0", connection=connection)
        connection.transport.write(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n")
        await answer.over
        self.assertEqual(answer.body, b"0")
        await until(lambda: len(self.upstream.seen) == 2)


class IdentityTests(ProxyTestCase):
    def name(self) -> str | None:
        return self.upstream.seen[-1].name

    async def test_the_pair_of_the_same_name(self) -> None:
        self.upstream.serve(b"/x", b"ok")
        await self.world.get("/x")
        self.assertEqual(self.name(), NODE)

    async def test_without_certificate_the_token_passes(self) -> None:
        self.upstream.serve(b"/x", b"ok")
        await self.world.ask("GET", "/x", [(b"Authorization", b"Bearer abc")])
        self.assertIsNone(self.name())
        self.assertIn((b"Authorization", b"Bearer abc"), self.upstream.seen[-1].request.head.headers)
        await self.world.ask("GET", "/x")
        self.assertIsNone(self.name())

    async def test_a_name_without_pair(self) -> None:
        stranger = self.world.authority.issue("stranger", directory=self.world.directory, name="stranger")
        answer = await self.world.ask("GET", "/x", identity=stranger)
        self.assertEqual(answer.status, 403)
        self.assertIn(b"'stranger'", answer.body)
        self.assertEqual(self.upstream.seen, [])

    async def test_a_pair_with_more_rights_than_the_caller(self) -> None:
        lesser = self.world.authority.issue(NODE, [], directory=self.world.directory, name="lesser")
        answer = await self.world.ask("GET", "/x", identity=lesser)
        self.assertEqual(answer.status, 403)
        self.assertIn(b"system:nodes", answer.body)

    async def test_a_new_pair_is_taken_into_use(self) -> None:
        late = self.world.authority.issue("late", directory=self.world.directory, name="late")
        self.assertEqual((await self.world.ask("GET", "/x", identity=late)).status, 403)
        self.world.authority.issue("late", directory=self.world.pairs, name="late")
        assert self.world.lite is not None
        self.world.lite.identities.check()
        self.upstream.serve(b"/x", b"ok")
        self.assertEqual((await self.world.ask("GET", "/x", identity=late)).status, 200)
        self.assertEqual(self.name(), "late")

    async def test_a_changed_pair_gets_new_connections_and_old_ones_end(self) -> None:
        self.upstream.serve(b"/x", b"ok")
        self.upstream.answers[b"/hold"] = lambda seen: None
        held = await self.world.send("GET", "/hold", identity=self.world.node)
        await until(lambda: self.upstream.seen)
        await self.world.get("/x")
        before = self.upstream.seen[-1].request.transport
        self.world.authority.issue(NODE, ["system:nodes"], directory=self.world.pairs, name="node")
        assert self.world.lite is not None
        self.world.lite.identities.check()
        await self.world.get("/x")
        self.assertIsNot(self.upstream.seen[-1].request.transport, before)
        await held.over  # the bound of the drain time


class ForwardUnknownTests(ProxyTestCase):
    options = {"unknown_certificate": "forward"}

    async def test_a_name_without_pair_goes_as_nobody(self) -> None:
        stranger = self.world.authority.issue("stranger", directory=self.world.directory, name="stranger")
        self.upstream.serve(b"/x", b"ok")
        answer = await self.world.ask("GET", "/x", identity=stranger)
        self.assertEqual(answer.status, 200)
        self.assertIsNone(self.upstream.seen[-1].name)
