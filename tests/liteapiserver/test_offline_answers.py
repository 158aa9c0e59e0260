"""Without the cloud: who is answered what."""

from __future__ import annotations

import json

from tests.liteapiserver.access.test_credentials import ACCOUNT, jwt
from tests.liteapiserver.access.test_tokens import in_json
from tests.liteapiserver.cache.driver import list_of, pod
from tests.liteapiserver.test_offline import BEARER, TOKEN, OfflineTestCase
from tests.liteapiserver.test_proxying import PODS
from tests.liteapiserver.world import Response


class AnswerTests(OfflineTestCase):
    async def test_reads_and_writes(self) -> None:
        await self.remember("a")
        await self.world.go_offline()
        await self.check_cached()
        self.assertEqual((await self.world.get(f"{PODS}/a")).status, 200)
        self.assertEqual((await self.world.get(f"{PODS}/b")).status, 404)
        self.assertEqual((await self.world.get("/api/v1/namespaces/default/secrets/x")).status, 503)
        for method, target in (
            ("POST", PODS),
            ("PUT", f"{PODS}/a"),
            ("PATCH", f"{PODS}/a"),
            ("DELETE", f"{PODS}/a"),
        ):
            answer = await self.world.ask(method, target, body=b"{}", identity=self.world.node)
            self.assertEqual(answer.status, 503)
            self.assertEqual(json.loads(answer.body)["reason"], "ServiceUnavailable")
        self.assertEqual((await self.world.ask("HEAD", f"{PODS}/a", identity=self.world.node)).body, b"")

    async def test_exec_is_refused(self) -> None:
        await self.world.go_offline()
        answer = await self.world.ask(
            "POST",
            f"{PODS}/a/exec",
            [(b"Connection", b"Upgrade"), (b"Upgrade", b"SPDY/3.1")],
            identity=self.world.node,
        )
        self.assertEqual(answer.status, 503)

    async def test_nobody_reads_what_another_cached(self) -> None:
        await self.remember("a")
        other = self.world.authority.issue("other", directory=self.world.pairs, name="other")
        assert self.world.lite is not None
        self.world.lite.identities.check()
        await self.world.go_offline()
        self.assertEqual((await self.world.ask("GET", PODS, identity=other)).status, 503)
        self.assertEqual((await self.world.ask("GET", PODS)).status, 503)
        self.assertEqual((await self.world.ask("GET", PODS, [BEARER])).status, 401)

    async def test_bearers(self) -> None:
        self.upstream.serve(PODS.encode(), list_of([pod("a", 3)], 20))
        await self.world.ask("GET", PODS, [BEARER])
        forged = jwt(sub=ACCOUNT, iss="k8s", exp=99_999_999_998)
        refused = (b"Authorization", b"Bearer refused")
        self.upstream.serve(b"/refuse", b"{}", 401)
        await self.world.ask("GET", "/refuse", [refused])
        await self.world.go_offline()
        self.assertEqual(self.names(await self.world.ask("GET", PODS, [BEARER])), ["a"])
        for other in ((b"Authorization", forged), refused, (b"Authorization", b"Bearer unknown")):
            self.assertEqual((await self.world.ask("GET", PODS, [other])).status, 401)

    async def test_a_certificate_does_not_vouch_for_a_token(self) -> None:
        await self.remember("a")
        token = (b"Authorization", jwt(sub=ACCOUNT, iss="k8s", exp=99_999_999_997))
        await self.world.ask("GET", PODS, [token], identity=self.world.node)
        await self.world.go_offline()
        self.assertEqual((await self.world.ask("GET", PODS, [token])).status, 401)

    async def test_what_stands_before_the_api_server_vouches_for_nobody(self) -> None:
        self.upstream.serve(b"/status", b"up", headers=[(b"Content-Type", b"text/plain")])
        self.assertEqual((await self.world.ask("GET", "/status", [BEARER])).status, 200)
        await self.world.go_offline()
        self.assertEqual((await self.world.ask("GET", PODS, [BEARER])).status, 401)

    async def test_tokens_for_pods(self) -> None:
        token = BEARER[1].split()[1].decode()
        self.upstream.serve(TOKEN.encode(), in_json(token), 201)
        self.assertEqual((await self.ask_token(b"pod a")).status, 201)
        await self.world.go_offline()
        answer = await self.ask_token(b"pod a")
        self.assertEqual((answer.status, json.loads(answer.body)["status"]["token"]), (201, token))
        self.assertEqual((await self.ask_token(b"pod b")).status, 503)
        # The pod may use it, although the cloud never saw it from a pod.
        self.assertEqual((await self.world.ask("GET", PODS, [(b"Authorization", BEARER[1])])).status, 503)

    async def test_a_token_that_is_bound_to_nothing(self) -> None:
        unbound = b'{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1","spec":{}}'
        self.upstream.serve(TOKEN.encode(), in_json(BEARER[1].split()[1].decode()), 201)
        self.assertEqual((await self.ask_token(unbound)).status, 201)
        await self.world.go_offline()
        self.assertEqual((await self.ask_token(unbound)).status, 201)
        for body in (b"{}", b"", b"null", b"\xff" * 100, unbound[:-1]):
            self.assertEqual((await self.ask_token(body)).status, 503)

    async def ask_token(self, body: bytes) -> Response:
        return await self.world.ask("POST", TOKEN, body=body, identity=self.world.node)

    async def test_a_404_that_a_write_made_untrue(self) -> None:
        lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        self.assertEqual((await self.world.get(f"{lease}/edge-1")).status, 404)
        self.upstream.serve(lease.encode(), b"{}", 201)
        await self.world.ask("POST", lease, body=b"{}", identity=self.world.node)
        await self.world.go_offline()
        self.assertEqual((await self.world.get(f"{lease}/edge-1")).status, 503)
