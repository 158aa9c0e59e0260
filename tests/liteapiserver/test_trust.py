"""What was not judged by the cloud is not believed without it."""

from __future__ import annotations

import base64
import json

from superedge.liteapiserver.access.authrequests import MAX_BODY
from superedge.web.heads import Headers
from tests.liteapiserver.access.test_bearer import subprotocol
from tests.liteapiserver.access.test_credentials import ACCOUNT, jwt
from tests.liteapiserver.access.test_tokens import in_json
from tests.liteapiserver.cache.driver import list_of, pod
from tests.liteapiserver.test_offline import OfflineTestCase
from tests.liteapiserver.test_proxying import PODS
from tests.liteapiserver.world import JSON, Response, Seen, until

END = 99_999_999_999
GENUINE = jwt(sub=ACCOUNT, iss="k8s", exp=END)
FORGED = jwt(sub=ACCOUNT, iss="k8s", exp=END - 1)
REVIEW = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
WEBSOCKET: Headers = [
    (b"Connection", b"Upgrade"),
    (b"Upgrade", b"websocket"),
    (b"Sec-WebSocket-Version", b"13"),
    (b"Sec-WebSocket-Key", b"dGhlIHNhbXBsZSBub25jZQ=="),
]


def bearer(header: bytes) -> Headers:
    return [(b"Authorization", header)]


def token(header: bytes) -> str:
    return header.split()[1].decode()


class TrustTests(OfflineTestCase):
    async def remember_for_web(self) -> None:
        self.upstream.serve(PODS.encode(), list_of([pod("a", 3)], 20))
        self.upstream.serve(b"/version", b"{}")
        self.upstream.forged.add(token(FORGED))
        self.assertEqual((await self.world.ask("GET", PODS, bearer(GENUINE))).status, 200)

    async def check_offline(self) -> None:
        await self.world.go_offline()
        self.assertEqual((await self.world.ask("GET", PODS, bearer(FORGED))).status, 401)
        self.assertEqual(self.names(await self.world.ask("GET", PODS, bearer(GENUINE))), ["a"])

    async def test_a_header_that_is_not_forwarded(self) -> None:
        await self.remember_for_web()
        headers = [*bearer(FORGED), (b"Connection", b"keep-alive, authorization")]
        self.assertEqual((await self.world.ask("GET", "/version", headers)).status, 200)
        sent = [name.lower() for name, _ in self.upstream.seen[-1].request.head.headers]
        self.assertNotIn(b"authorization", sent)
        await self.world.judged()
        self.assertEqual(self.upstream.reviewed, [token(GENUINE)])
        await self.check_offline()

    async def test_a_success_that_is_open_to_everybody(self) -> None:
        await self.remember_for_web()
        self.assertEqual((await self.world.ask("GET", "/version", bearer(FORGED))).status, 200)
        await self.check_offline()

    async def test_a_token_beside_another(self) -> None:
        await self.remember_for_web()
        genuine = (b"Sec-WebSocket-Protocol", b"v5.channel.k8s.io, " + subprotocol(token(GENUINE).encode()))
        for headers in ([*bearer(FORGED), genuine], [*bearer(FORGED), genuine, *WEBSOCKET]):
            answer = await self.world.ask("GET", PODS, headers)
            self.assertEqual(answer.status, 200)
        await self.world.judged()
        self.assertNotIn(token(FORGED), self.upstream.reviewed)
        await self.check_offline()

    async def test_a_refusal_of_a_stranger_takes_nothing_from_who_was_claimed(self) -> None:
        """A server that does not read a token refuses an anonymous caller, not the token's subject."""
        await self.remember_for_web()
        await self.world.judged()
        self.upstream.serve(PODS.encode(), b'{"kind":"Status","code":403}', 403)
        self.assertEqual((await self.world.ask("GET", PODS, bearer(FORGED))).status, 403)
        await self.check_offline()
        await self.upstream.start()
        await until(lambda: self.world.state == "online", "online")
        self.assertEqual((await self.world.ask("GET", PODS, bearer(GENUINE))).status, 403)
        await self.world.go_offline()
        self.assertEqual((await self.world.ask("GET", PODS, bearer(GENUINE))).status, 403)

    async def test_what_a_pod_answers_makes_no_token_believed(self) -> None:
        await self.remember_for_web()
        for target in (
            "/api/v1/namespaces/shop%2Fpods%2FPOD:80%2Fproxy%2F/serviceaccounts/x/token",
            "/api/v1/namespaces/shop/pods/POD:80/proxy/serviceaccounts/x/token",
        ):
            self.upstream.serve(target.encode(), in_json(token(FORGED)), 201)
            answer = await self.world.ask("POST", target, body=b"{}", identity=self.world.node)
            self.assertEqual(answer.status, 201)
        await self.world.judged()
        self.assertNotIn(token(FORGED), self.upstream.reviewed)
        await self.check_offline()

    async def test_a_token_for_somebody_else_than_the_api_server(self) -> None:
        await self.remember_for_web()
        target = "/api/v1/namespaces/default/serviceaccounts/web/token"
        self.upstream.serve(target.encode(), in_json(token(FORGED)), 201)
        await self.world.ask("POST", target, body=b"for vault", identity=self.world.node)
        await self.check_offline()

    async def test_targets_that_are_opaque_are_not_cached(self) -> None:
        for target in ("/api/v1//pods", "/api/v1/namespaces/default/pods/", f"{PODS}?a;b"):
            self.upstream.serve(target.partition("?")[0].encode(), list_of([pod("a", 3)], 20))
            answer = await self.world.get(target)
            self.assertEqual(self.names(answer), ["a"])
            self.assertEqual(self.upstream.seen[-1].target, target.encode())
        await self.world.go_offline()
        for target in ("/api/v1//pods", "/api/v1/namespaces/default/pods/", f"{PODS}?a;b", PODS):
            self.assertEqual((await self.world.get(target)).status, 503)

    async def test_a_websocket_bearer_is_nobody_else(self) -> None:
        await self.remember_for_web()
        self.upstream.serve(PODS.encode(), list_of([pod("anonymous", 3)], 20))
        await self.world.ask("GET", PODS)
        protocol = (b"Sec-WebSocket-Protocol", b"v5.channel.k8s.io, " + subprotocol(token(GENUINE).encode()))
        forged = (b"Sec-WebSocket-Protocol", b"v5.channel.k8s.io, " + subprotocol(token(FORGED).encode()))
        await self.world.go_offline()
        self.assertEqual(self.names(await self.world.ask("GET", PODS, [*WEBSOCKET, protocol])), ["a"])
        self.assertEqual((await self.world.ask("GET", PODS, [*WEBSOCKET, forged])).status, 401)
        self.assertEqual((await self.world.ask("GET", PODS, [protocol])).status, 401)

    async def test_what_is_presented_in_another_way_leaves_nothing_behind(self) -> None:
        await self.remember_for_web()
        for number in range(20):
            await self.world.ask("GET", f"{PODS}?labelSelector=a{number}", bearer(b"x %d" % number))
        assert self.world.lite is not None
        await self.world.judged()
        self.assertEqual(self.upstream.reviewed, [token(GENUINE)])
        self.assertEqual(
            {view["identity"] for view in self.world.lite.cache.status()}, {f"token:{ACCOUNT}@k8s"}
        )
        await self.check_offline()

    async def test_a_refusal_counts_at_once_and_after_a_restart(self) -> None:
        await self.remember_for_web()
        await self.world.judged()
        self.upstream.forged.add(token(GENUINE))
        self.upstream.serve(PODS.encode(), b'{"kind":"Status","code":401}', 401)
        lower = b"bearer " + token(GENUINE).encode()
        self.assertEqual((await self.world.ask("GET", PODS, bearer(lower))).status, 401)
        await self.world.go_offline()
        for _ in range(2):
            answer = await self.world.ask("GET", PODS, bearer(GENUINE))
            self.assertEqual(answer.status, 401)
            self.assertIn(b"refused", answer.body)
            await self.world.stop_lite()
            await self.world.start_lite()
            await until(lambda: self.world.state == "offline")

    async def test_a_refusal_of_a_server_that_is_not_ready(self) -> None:
        await self.remember_for_web()
        await self.world.judged()
        assert self.world.lite is not None
        health = self.world.lite.health
        self.upstream.serve(b"/readyz", b"etcd is away", 500, [])
        health.probe_soon()
        await until(lambda: health.reason, "not ready")
        self.upstream.forged.add(token(GENUINE))
        self.upstream.serve(PODS.encode(), b'{"kind":"Status","code":401}', 401)
        self.assertEqual((await self.world.ask("GET", PODS, bearer(GENUINE))).status, 401)
        await self.check_offline()

    async def test_a_pod_behind_the_api_server_refuses_no_token(self) -> None:
        await self.remember_for_web()
        await self.world.judged()
        target = f"{PODS}/a/proxy/login"
        self.upstream.serve(target.encode(), b"who are you?", 401)
        self.assertEqual((await self.world.ask("GET", target, bearer(GENUINE))).status, 401)
        await self.check_offline()

    async def test_a_cloud_that_does_not_say_whose_tokens_are(self) -> None:
        await self.remember_for_web()
        await self.world.judged()
        other = jwt(sub=ACCOUNT, iss="k8s", exp=END - 2)
        reviews = next(path for path in self.upstream.answers if path.endswith(b"selfsubjectreviews"))
        for status, body in ((403, b"{}"), (201, b"["), (201, b"[" * 3000), (201, b'{"kind":"\xff"}')):
            self.upstream.serve(reviews, body, status)
            assert self.world.lite is not None
            self.world.lite.token_reviewer._asked_at.clear()
            await self.world.ask("GET", PODS, bearer(other))
            await self.world.judged()
        await self.world.go_offline()
        self.assertEqual((await self.world.ask("GET", PODS, bearer(other))).status, 401)

    async def test_an_expired_token_is_told_so(self) -> None:
        await self.world.go_offline()
        answer = await self.world.ask("GET", PODS, bearer(jwt(sub=ACCOUNT, iss="k8s", exp=1000)))
        self.assertEqual(answer.status, 401)
        self.assertIn("expired at 1970-01-01T00:16:40Z", json.loads(answer.body)["message"])

    async def test_claims_that_are_no_text(self) -> None:
        claims = base64.urlsafe_b64encode(b'{"sub":"\xff"}').rstrip(b"=")
        headers = bearer(b"Bearer e30." + claims + b".e30")
        self.upstream.forged.add(token(headers[0][1]))
        self.assertEqual((await self.world.ask("GET", PODS, headers)).status, 404)
        await self.world.go_offline()
        self.assertEqual((await self.world.ask("GET", PODS, headers)).status, 401)


class QuestionTests(OfflineTestCase):
    """The body of a question is what decides its answer."""

    async def send_head(self, length: int, *headers: tuple[bytes, bytes]) -> Response:
        every = [(b"Content-Length", b"%d" % length), *headers]
        return await self.world.send("POST", REVIEW, every, identity=self.world.node)

    async def remember_review(self) -> None:
        self.upstream.serve(REVIEW.encode(), b'{"allowed":true}', 201)
        answer = await self.world.ask("POST", REVIEW, body=b"may I", identity=self.world.node)
        self.assertEqual(answer.status, 201)

    async def finish(self, answer: Response, body: bytes) -> None:
        assert answer.connection is not None
        answer.connection.transport.write(body)
        await answer.over
        self.assertEqual((answer.status, answer.body), (201, b'{"allowed":true}'))

    async def test_whose_body_had_not_been_read_when_the_outage_was_found(self) -> None:
        await self.remember_review()
        before = len(self.upstream.seen)
        answer = await self.send_head(5)
        assert answer.connection is not None
        answer.connection.transport.write(b"may")
        await until(lambda: len(self.upstream.seen) > before)
        await self.world.go_offline()
        await self.finish(answer, b" I")

    async def test_that_finds_the_outage(self) -> None:
        await self.remember_review()
        self.upstream.stop()
        await self.finish(await self.send_head(5), b"may I")

    async def test_that_was_sent_whole(self) -> None:
        await self.remember_review()
        self.upstream.answers[REVIEW.encode()] = lambda seen: None
        before = len(self.upstream.seen)
        answer = await self.send_head(5)
        assert answer.connection is not None
        answer.connection.transport.write(b"may I")
        await until(lambda: len(self.upstream.seen) > before)
        await self.world.go_offline()
        await self.finish(answer, b"")

    async def test_that_a_load_balancer_answers(self) -> None:
        await self.remember_review()

        def early(seen: Seen) -> None:
            seen.request.respond(502, [(b"Content-Type", b"text/html")], b"<html>")

        self.upstream.early[REVIEW.encode()] = early
        await self.finish(await self.send_head(5), b"may I")

    async def test_an_answer_that_is_too_long_is_not_kept(self) -> None:
        self.upstream.serve(REVIEW.encode(), b"x" * (MAX_BODY + 1), 201, JSON)
        await self.world.ask("POST", REVIEW, body=b"may I", identity=self.world.node)
        await self.world.go_offline()
        answer = await self.world.ask("POST", REVIEW, body=b"may I", identity=self.world.node)
        self.assertEqual(answer.status, 503)
