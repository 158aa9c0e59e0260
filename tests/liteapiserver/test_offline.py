"""Without the cloud: what happens at the outage, during it, through a restart, and at its end."""

from __future__ import annotations

import json
from typing import Any

from superedge.kube.protobuf import envelope
from superedge.liteapiserver.access.authrequests import MAX_BODY
from superedge.tls.authority import Authority
from superedge.tls.contexts import ServerContextSource
from tests.liteapiserver.access.test_credentials import ACCOUNT, jwt
from tests.liteapiserver.access.test_tokens import in_json
from tests.liteapiserver.cache.driver import TABLE, event, list_of, pod, row, table
from tests.liteapiserver.test_proxying import PODS, ProxyTestCase
from tests.liteapiserver.world import (
    IMPATIENT,
    JSON,
    Greeter,
    Response,
    Seen,
    Silent,
    Upstream,
    listener,
    reactor,
    until,
)

BEARER = (b"Authorization", jwt(sub=ACCOUNT, iss="k8s", exp=99_999_999_999))
TOKEN = "/api/v1/namespaces/default/serviceaccounts/web/token"


class OfflineTestCase(ProxyTestCase):
    async def remember(self, *names: str) -> None:
        """The node lists its pods while the cloud is there."""
        items = [pod(name, number + 3) for number, name in enumerate(names)]
        self.upstream.serve(PODS.encode(), list_of(items, 20))
        self.assertEqual((await self.world.get(PODS)).status, 200)

    def names(self, answer: Response) -> list[str]:
        self.assertEqual(answer.status, 200, answer.body)
        return sorted(item["metadata"]["name"] for item in json.loads(answer.body)["items"])

    def stale(self, answer: Response) -> bool:
        return answer.header(b"warning").startswith(b"110")

    async def check_cached(self) -> None:
        answer = await self.world.get(PODS)
        self.assertEqual(self.names(answer), ["a"])
        self.assertTrue(self.stale(answer))


class BlackHoleTests(OfflineTestCase):
    """The cloud is there, and silent."""

    options = {"timing": IMPATIENT}

    async def test_a_black_hole(self) -> None:
        await self.remember("a")
        self.upstream.answers[PODS.encode()] = lambda seen: None
        self.upstream.answers[b"/readyz"] = lambda seen: None
        await self.check_cached()
        self.assertEqual(self.world.state, "offline")
        before = len(self.upstream.seen)
        await self.check_cached()
        self.assertEqual(len(self.upstream.seen), before)  # while offline no request dials

    async def test_a_black_hole_for_new_connections(self) -> None:
        await self.remember("a")
        self.upstream.stop()
        await self.upstream.start(listener(Silent))
        await self.check_cached()


class OutageTests(OfflineTestCase):
    async def test_the_request_that_meets_the_outage_is_answered(self) -> None:
        await self.remember("a")
        self.upstream.stop()
        await self.check_cached()
        await until(lambda: self.world.state == "offline")
        await self.check_cached()

    async def test_something_else_answers(self) -> None:
        await self.remember("a")
        self.upstream.stop()
        await self.upstream.start(listener(Greeter))
        await self.check_cached()
        await until(lambda: self.world.state == "offline")

    async def test_a_strangers_certificate(self) -> None:
        await self.remember("a")
        other = Authority.create(self.world.directory / "other", "stranger")
        pair = other.issue("server", ips=["127.0.0.1"], directory=self.world.directory, name="stranger")
        self.upstream.stop()
        # With answers of its own: a handshake that the genuine server began may still complete.
        impostor = Upstream(ServerContextSource(pair.certificate, pair.key))
        impostor.number = self.upstream.number
        await impostor.start()
        self.addCleanup(impostor.stop)
        impostor.serve(PODS.encode(), list_of([pod("evil", 99)], 100))
        await self.check_cached()
        await until(lambda: self.world.state == "offline")

    async def test_a_load_balancer_without_servers(self) -> None:
        await self.remember("a")
        for status, kind, body in (
            (502, b"text/html", b"<html>bad gateway</html>"),
            (503, b"text/plain", b"no healthy upstream"),
            (504, b"application/json", b'{"message":"timed out"}'),
            (503, b"application/json", b"x" * 300_000),
        ):
            self.upstream.serve(PODS.encode(), body, status, [(b"Content-Type", kind)])
            await self.check_cached()
            answer = await self.world.ask("POST", PODS, body=b"{}", identity=self.world.node)
            self.assertEqual((answer.status, answer.body), (status, body))
        self.upstream.serve(b"/readyz", b"<html>bad gateway</html>", 502, [(b"Content-Type", b"text/html")])
        await until(lambda: self.world.state == "offline")

    async def test_errors_of_the_api_server_itself_pass(self) -> None:
        await self.remember("a")
        for status in (429, 500, 503, 504):
            self.upstream.serve(PODS.encode(), b'{"kind":"Status"}', status)
            answer = await self.world.get(PODS)
            self.assertEqual((answer.status, answer.body), (status, b'{"kind":"Status"}'))
        status_body = b'{"kind":"Status","apiVersion":"v1","code":504}'
        for kind, body in (
            (b"application/json", status_body),
            (b"application/vnd.kubernetes.protobuf", envelope("Status", "v1", b"")),
        ):
            self.upstream.serve(PODS.encode(), body, 504, [(b"Content-Type", kind)])
            answer = await self.world.get(PODS)
            self.assertEqual((answer.status, answer.body), (504, body))
        self.assertIn(self.world.state, ("online", "suspect"))

    async def test_closed_before_an_answer(self) -> None:
        await self.remember("a")
        self.upstream.answers[PODS.encode()] = lambda seen: seen.request.transport.abortConnection()
        await self.check_cached()
        await until(lambda: self.world.state == "online", "the probe finds it well")

    async def test_a_write_that_was_sent_and_not_answered(self) -> None:
        self.upstream.answers[PODS.encode()] = lambda seen: None
        answer = await self.world.send("POST", PODS, body=b"{}", identity=self.world.node)
        await until(lambda: self.upstream.seen)
        await self.world.go_offline()
        await answer.over
        self.assertEqual(answer.status, 504)
        self.assertIn(b"may have been carried out", answer.body)

    async def test_a_truncated_list_changes_nothing(self) -> None:
        await self.remember("a")

        def cut(seen: Seen) -> None:
            body = list_of([pod("b", 30)], 40)
            seen.request.start(200, b"OK", [*JSON, (b"Content-Length", b"%d" % len(body))], True)
            seen.request.write([body[:-10]])
            seen.request.flush()
            reactor.callLater(0.05, seen.request.transport.abortConnection)

        self.upstream.answers[PODS.encode()] = cut
        await self.world.get(PODS)
        await self.world.go_offline()
        await self.check_cached()


class WatchTests(OfflineTestCase):
    def serve_watch(self, *frames: bytes) -> None:
        def begin(seen: Seen) -> None:
            if b"watch=true" not in seen.target:
                seen.request.respond(200, list(JSON), list_of([pod("a", 3)], 20))
                return
            seen.request.start(200, b"OK", list(JSON), False)
            seen.request.write(list(frames))
            seen.request.flush()

        self.upstream.answers[PODS.encode()] = begin

    async def test_events_reach_client_and_cache(self) -> None:
        self.serve_watch(event("ADDED", pod("b", 21)))
        await self.world.get(PODS)
        watch = await self.world.send(
            "GET", f"{PODS}?watch=true&resourceVersion=20", identity=self.world.node
        )
        await until(lambda: watch.body == event("ADDED", pod("b", 21)))
        await self.world.go_offline()
        self.assertEqual(self.names(await self.world.get(PODS)), ["a", "b"])
        self.assertFalse(watch.over.called)

    async def test_what_the_cache_cannot_read_reaches_the_client_all_the_same(self) -> None:
        frames = [b"no event at all\n", b"\xff\n", event("ADDED", pod("b", 21))]
        self.serve_watch(*frames[:2])
        await self.world.get(PODS)
        watch = await self.world.send(
            "GET", f"{PODS}?watch=true&resourceVersion=20", identity=self.world.node
        )
        await until(lambda: watch.body == b"".join(frames[:2]))
        self.upstream.seen[-1].request.write([frames[2]])
        self.upstream.seen[-1].request.flush()
        await until(lambda: watch.body == b"".join(frames))
        self.assertFalse(watch.over.called)
        await self.world.go_offline()
        self.assertFalse(watch.over.called)
        self.assertEqual(self.names(await self.world.get(PODS)), ["a"], "as it was before")

    async def test_offline_watch_is_held_and_ends_when_the_cloud_is_back(self) -> None:
        await self.remember("a")
        await self.world.go_offline()
        watch = await self.world.send(
            "GET",
            f"{PODS}?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
            identity=self.world.node,
        )
        await until(lambda: b"initial-events-end" in watch.body)
        self.assertIn(b'"ADDED"', watch.body)
        self.assertFalse(watch.over.called)
        await self.upstream.start()
        self.assertEqual(await watch.over, "")
        self.assertEqual(self.world.state, "online")

    async def test_a_watch_that_loses_the_cloud_while_offline_stays_open(self) -> None:
        self.serve_watch()
        watch = await self.world.send(
            "GET", f"{PODS}?watch=true&resourceVersion=20", identity=self.world.node
        )
        await watch.begun
        self.upstream.serve(b"/readyz", b"", 502, [(b"Content-Type", b"text/html")])
        await until(lambda: self.world.state == "offline")
        self.upstream.stop()
        await self.world.get(PODS)
        self.assertFalse(watch.over.called)
        del self.upstream.answers[b"/readyz"]
        await self.upstream.start()
        self.assertEqual(await watch.over, "")

    async def test_a_watch_that_was_silent_through_an_outage_ends_with_it(self) -> None:
        """Its server may repeat what was lost only after as long again; another goes on."""
        self.serve_watch()
        watches = []
        for _ in range(2):
            watch = await self.world.send(
                "GET", f"{PODS}?watch=true&resourceVersion=20", identity=self.world.node
            )
            await watch.begun
            watches.append(watch)
        self.upstream.serve(b"/readyz", b"", 502, [(b"Content-Type", b"text/html")])
        await until(lambda: self.world.state == "offline")
        heard = self.upstream.seen[-1].request
        heard.write([event("ADDED", pod("b", 21))])
        heard.flush()
        await until(lambda: watches[1].body)
        del self.upstream.answers[b"/readyz"]
        self.assertEqual(await watches[0].over, "")
        self.assertEqual(self.world.state, "online")
        self.assertFalse(watches[1].over.called)


class QuestionTests(OfflineTestCase):
    ACCESS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"

    async def test_a_review_is_answered_again(self) -> None:
        self.upstream.serve(self.ACCESS.encode(), b'{"status":{"allowed":true}}', 201)
        for online in (True, False):
            if not online:
                await self.world.go_offline()
            answer = await self.world.ask("POST", self.ACCESS, body=b"may I", identity=self.world.node)
            self.assertEqual((answer.status, answer.body), (201, b'{"status":{"allowed":true}}'))
            self.assertEqual(self.stale(answer), not online)
        answer = await self.world.ask("POST", self.ACCESS, body=b"may I not", identity=self.world.node)
        self.assertEqual(answer.status, 503)
        self.assertIn(b"is not possible now (cannot connect to 127.0.0.1:", answer.body)
        answer = await self.world.ask("POST", self.ACCESS, body=b"may I")
        self.assertEqual(answer.status, 503)  # nobody else's answer

    async def test_a_question_whose_body_waits_to_be_asked_for(self) -> None:
        self.upstream.serve(self.ACCESS.encode(), b"{}", 201)
        await self.world.ask("POST", self.ACCESS, body=b"may I", identity=self.world.node)
        await self.world.go_offline()
        headers = [(b"Expect", b"100-continue"), (b"Content-Length", b"5")]
        answer = await self.world.send("POST", self.ACCESS, headers, identity=self.world.node)
        await until(lambda: answer.heads, "it is asked for")
        self.assertEqual(answer.status, 100)
        assert answer.connection is not None
        answer.connection.transport.write(b"may I")
        await answer.over
        self.assertEqual((answer.status, answer.body), (201, b"{}"))

    async def test_an_answer_that_decides_nothing(self) -> None:
        """What an API server says in place of a decision is not said again."""
        for status in (200, 403, 429, 500):
            self.upstream.serve(self.ACCESS.encode(), b'{"kind":"Status"}', status)
            await self.world.ask("POST", self.ACCESS, body=b"may I", identity=self.world.node)
        await self.world.go_offline()
        answer = await self.world.ask("POST", self.ACCESS, body=b"may I", identity=self.world.node)
        self.assertEqual(answer.status, 503)

    async def test_a_question_that_is_too_long(self) -> None:
        body = b"x" * (MAX_BODY + 1)
        self.upstream.serve(self.ACCESS.encode(), b"{}", 201)
        connection = await self.world.connect(self.world.node)
        for size, online, offline in ((MAX_BODY, 201, 201), (MAX_BODY + 1, 201, 413)):
            answer = await self.world.ask("POST", self.ACCESS, body=body[:size], connection=connection)
            self.assertEqual(answer.status, online)
            await self.world.go_offline()
            answer = await self.world.ask("POST", self.ACCESS, body=body[:size], connection=connection)
            self.assertEqual(answer.status, offline)
            await self.upstream.start()
            await until(lambda: self.world.state == "online", "online")

    async def test_entity_tags(self) -> None:
        etag = [(b"ETag", b'"abc"')]
        self.upstream.serve(b"/apis", b"{}", headers=[*JSON, *etag])
        self.assertEqual((await self.world.get("/apis")).header(b"etag"), b'"abc"')
        self.upstream.serve(b"/apis", b"", 304, headers=[*JSON, *etag])
        known = [(b"If-None-Match", b'"abc"')]
        for online in (True, False):
            if not online:
                await self.world.go_offline()
            connection = await self.world.connect(self.world.node)
            for _ in range(2):  # the connection goes on
                answer = await self.world.ask("GET", "/apis", known, connection=connection)
                self.assertEqual((answer.status, answer.body), (304, b""))
        answer = await self.world.ask(
            "GET", "/apis", [(b"If-None-Match", b'"old"')], identity=self.world.node
        )
        self.assertEqual((answer.status, answer.body), (200, b"{}"))


class WarningTests(OfflineTestCase):
    async def test_a_person_is_told_once_on_a_connection(self) -> None:
        accept = [(b"Accept", TABLE.encode())]
        self.upstream.serve(PODS.encode(), json.dumps(table([row("a", 3)], 9)).encode())
        online = await self.world.ask("GET", PODS, accept, identity=self.world.node)
        self.assertEqual(online.header(b"warning"), b"")
        await self.world.go_offline()
        for _ in range(2):
            connection = await self.world.connect(self.world.node)
            told = []
            for headers in ([], accept, accept):
                answer = await self.world.ask("GET", PODS, headers, connection=connection)
                told.append(answer.header(b"warning"))
            self.assertEqual([b"299" in text for text in told], [False, True, False])
            pattern = r'299 - "the cloud is out of reach since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ; this is'
            self.assertRegex(told[1].decode(), pattern)
        unknown = await self.world.ask("GET", "/api/v1/nodes", accept, identity=self.world.node)
        self.assertNotIn(b"299", unknown.header(b"warning"))


class RestartTests(OfflineTestCase):
    async def test_everything_from_the_disk_alone(self) -> None:
        await self.remember("a")
        self.upstream.serve(TOKEN.encode(), in_json(BEARER[1].split()[1].decode()), 201)
        await self.world.ask("POST", TOKEN, body=b"pod a", identity=self.world.node)
        await self.world.ask("GET", PODS, [BEARER])
        await self.world.stop_lite()
        self.upstream.stop()
        await self.world.start_lite()
        await self.check_cached()
        self.assertEqual(self.names(await self.world.ask("GET", PODS, [BEARER])), ["a"])
        answer = await self.world.ask("POST", TOKEN, body=b"pod a", identity=self.world.node)
        self.assertEqual(answer.status, 201)
        self.assertEqual((await self.world.get(f"{PODS}/b")).status, 404)

    async def test_while_the_process_before_still_drains(self) -> None:
        await self.remember("a")
        before, self.world.lite = self.world.lite, None
        assert before is not None
        self.upstream.stop()
        await self.world.start_lite()
        asked = await self.world.send("GET", PODS, identity=self.world.node)
        await until(lambda: self.world.lite and "in use by another process" in self.world.lite.waits_for())
        await before.stopService()
        await asked.over
        self.assertEqual(self.names(asked), ["a"])

    async def test_back_to_the_cloud(self) -> None:
        await self.remember("a")
        await self.world.go_offline()
        await self.upstream.start()
        await until(lambda: self.world.state == "online")
        await self.remember("b")
        self.assertEqual(self.names(await self.world.get(PODS)), ["b"])

    async def test_status_page(self) -> None:
        await self.remember("a")
        assert self.world.lite is not None
        status: dict[str, Any] = json.loads(json.dumps(self.world.lite.status()))
        self.assertEqual((status["state"], status["store"]["degraded"]), ("online", ""))
        self.assertEqual(status["views"][0]["resource"], "pods")
        self.assertTrue(status["views"][0]["complete"])
