"""No identity reads what another one cached, whatever it asks for and however it names itself."""

from __future__ import annotations

import base64
import json
from typing import Any

from superedge.tls.identity import Identity
from tests.liteapiserver.access.test_credentials import ACCOUNT, jwt
from tests.liteapiserver.access.test_tokens import in_json
from tests.liteapiserver.cache.driver import TABLE, list_of, pod, row, table, typed
from tests.liteapiserver.test_offline import OfflineTestCase
from tests.liteapiserver.world import JSON, Seen, until

SECRETS = "/api/v1/namespaces/default/secrets"
TOKEN = "/api/v1/namespaces/default/serviceaccounts/web/token"
REVIEW = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
END = 99_999_999_999
Headers = list[tuple[bytes, bytes]]


def bearer(value: bytes) -> Headers:
    return [(b"Authorization", value)]


def impersonation(user: bytes) -> Headers:
    return [(b"Impersonate-User", user)]


class IsolationTests(OfflineTestCase):
    def callers(self) -> dict[str, tuple[Identity | None, Headers]]:
        other = self.world.authority.issue("system:kube-proxy", directory=self.world.pairs, name="proxy")
        return {
            "node": (self.world.node, []),
            "proxy": (other, []),
            "web": (None, bearer(jwt(sub=ACCOUNT, iss="k8s", exp=END))),
            "other": (None, bearer(jwt(sub=ACCOUNT.replace("web", "db"), iss="k8s", exp=END))),
            "elsewhere": (None, bearer(jwt(sub=ACCOUNT, iss="https://login", exp=END))),
            "static": (None, bearer(b"Bearer 31ada4fd-adec-460c-809a-9e56ceb75269")),
            "node as bob": (self.world.node, impersonation(b"bob")),
            "node as al": (self.world.node, impersonation(b"al")),
            "node as al in sales": (
                self.world.node,
                [*impersonation(b"al"), (b"impersonate-group", b"sales")],
            ),
            "node as al in sales and it": (
                self.world.node,
                [*impersonation(b"al"), (b"Impersonate-Group", b"sales"), (b"Impersonate-Group", b"it")],
            ),
            "node as al, remotely": (
                self.world.node,
                [*impersonation(b"al"), (b"Impersonate-Extra-Scopes", b"view")],
            ),
            "web as al": (None, [*bearer(jwt(sub=ACCOUNT, iss="k8s", exp=END)), *impersonation(b"al")]),
            "static as al": (None, [*bearer(b"Bearer 31ada4fd"), *impersonation(b"al")]),
            "basic": (None, bearer(b"Basic " + base64.b64encode(b"a:b"))),
            "anonymous": (None, []),
        }

    async def ask(
        self,
        caller: tuple[Identity | None, Headers],
        method: str,
        target: str,
        accept: str,
        body: bytes = b"",
    ) -> tuple[int, bytes]:
        headers = [*caller[1], (b"Accept", accept.encode())]
        answer = await self.world.send(method, target, headers, body, identity=caller[0])
        await answer.begun
        if "watch" not in target:
            await answer.over
        elif answer.status == 200:
            await until(lambda: b"\n" in answer.body)
        return answer.status, answer.body

    def serve_for(self, name: str) -> None:
        """Everything that comes back holds the caller's name."""
        secret = {**pod(f"of-{name}", 3), "data": {"owner": name}}
        self.upstream.serve(f"{SECRETS}/one".encode(), json.dumps(typed(secret, "Secret")).encode())

        def collection(seen: Seen) -> None:
            accept = dict(seen.request.head.headers).get(b"Accept", b"")
            whole: Any = list_of([secret], 9, "SecretList")
            if b"as=Table" in accept:
                whole = json.dumps(table([row(f"of-{name}", 3)], 9)).encode()
            seen.request.respond(200, list(JSON), whole)

        self.upstream.answers[SECRETS.encode()] = collection
        self.upstream.serve(b"/version", json.dumps({"of": name}).encode())
        self.upstream.serve(REVIEW.encode(), json.dumps({"of": name}).encode(), 201)
        token = jwt(sub=f"{ACCOUNT}-{name}", exp=END).split()[1].decode()
        self.upstream.serve(TOKEN.encode(), in_json(token), 201)

    QUESTIONS = (
        ("GET", SECRETS, "application/json", b""),
        ("GET", SECRETS, TABLE, b""),
        ("GET", f"{SECRETS}?watch=true", "application/json", b""),
        ("GET", f"{SECRETS}?labelSelector=!x", "application/json", b""),
        ("GET", "/version", "application/json", b""),
        ("POST", REVIEW, "application/json", b"may I"),
        ("POST", TOKEN, "application/json", b"for a pod"),
    )

    async def test_each_has_its_own(self) -> None:
        callers = self.callers()
        readers = [name for name in callers if name not in ("proxy", "anonymous", "basic")]
        for name in readers:
            self.serve_for(name)
            for method, target, accept, body in self.QUESTIONS:
                if "watch" in target or "labelSelector" in target:
                    continue
                status, _ = await self.ask(callers[name], method, target, accept, body)
                self.assertEqual(status, 201 if method == "POST" else 200)
        await self.world.go_offline()
        for name, caller in callers.items():
            for method, target, accept, body in self.QUESTIONS:
                status, content = await self.ask(caller, method, target, accept, body)
                where = f"{name} {method} {target} {accept}"
                if name in readers:
                    self.assertEqual(status, 201 if method == "POST" else 200, where)
                    if target not in (TOKEN, f"{SECRETS}?watch=true"):
                        self.assertIn(
                            f'"{name}"' if method == "POST" or "version" in target else f"of-{name}",
                            content.decode(),
                            where,
                        )
                    for stranger in set(readers) - {name}:
                        self.assertNotIn(f'"of-{stranger}"', content.decode(), where)
                else:
                    wanted = 401 if name == "basic" else 503
                    self.assertEqual(status, wanted, where)
                    self.assertNotIn(b"of-", content)

    async def test_names_of_one_kind_that_look_like_another(self) -> None:
        """A certificate for a service account's name is no token, and the other way about."""
        self.serve_for("web")
        callers = self.callers()
        await self.ask(callers["web"], "GET", SECRETS, "application/json")
        issue = self.world.authority.issue
        await self.world.go_offline()
        for number, name in enumerate((f"token:{ACCOUNT}@k8s", ACCOUNT, f"{ACCOUNT}@k8s", "anonymous")):
            pair = issue(name, directory=self.world.pairs, name=f"odd-{number}")
            status, content = await self.ask((pair, []), "GET", SECRETS, "application/json")
            self.assertIn(status, (403, 503))
            self.assertNotIn(b"of-web", content)
        # Of the certificate and the token the certificate counts, as in the cloud.
        status, _ = await self.ask((self.world.node, callers["web"][1]), "GET", SECRETS, "application/json")
        self.assertEqual(status, 503)

    async def test_a_header_in_which_the_cloud_sees_no_token(self) -> None:
        """With two spaces a client is anonymous in the cloud, which lets it read something."""
        self.serve_for("web")
        callers = self.callers()
        await self.ask(callers["web"], "GET", SECRETS, "application/json")
        (_, header), *_ = callers["web"][1]
        forged = header.rpartition(b".")[0] + b".AAAA"
        odd = [bearer(forged.replace(b" ", each)) for each in (b"  ", b" x ", b" x,")]
        for headers in odd:
            status, _ = await self.ask((None, headers), "GET", "/version", "application/json")
            self.assertEqual(status, 200)
        await self.world.go_offline()
        for headers in odd:
            status, content = await self.ask((None, headers), "GET", SECRETS, "application/json")
            # The token that it does see is another.
            wanted = 401 if b"  " in headers[0][1] else 503
            self.assertEqual((status, b"of-web" in content), (wanted, False))
