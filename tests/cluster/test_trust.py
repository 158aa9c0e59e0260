"""Forged tokens and a real API server: what it did not judge is not believed while it is away."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from collections.abc import Mapping

from tests.cluster.environment import Environment, EnvironmentCase, wait_until
from tests.cluster.lite import LiteAPIServer
from tests.liteapiserver.access.test_bearer import subprotocol
from tests.liteapiserver.access.test_credentials import token as unsigned

SECRET = "/api/v1/namespaces/default/secrets/plan"
WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
lite: LiteAPIServer


class TrustTests(EnvironmentCase):
    @classmethod
    def prepare(cls, environment: Environment) -> None:
        global lite  # noqa: PLW0603
        environment.cluster.up()
        for command in (
            ("create", "serviceaccount", "victim"),
            ("create", "serviceaccount", "other"),
            ("create", "secret", "generic", "plan", "--from-literal=a=b"),
            ("create", "clusterrole", "reader", "--verb=get", "--resource=secrets"),
            ("create", "rolebinding", "victim", "--clusterrole=reader", "--serviceaccount=default:victim"),
        ):
            environment.kubectl(*command)
        lite = LiteAPIServer(environment, verify_tokens=False)

    def ask(self, target: str, headers: Mapping[str, str]) -> int:
        cluster = self.environment.cluster
        context = ssl.create_default_context(cafile=str(cluster.pki / "ca.crt"))
        connection = http.client.HTTPSConnection("127.0.0.1", lite.port, context=context, timeout=20)
        try:
            connection.request("GET", target, headers=dict(headers))
            return connection.getresponse().status
        finally:
            connection.close()

    def test_only_what_the_cloud_judged(self) -> None:
        victim, unseen, other = (
            self.environment.kubectl("create", "token", name).strip()
            for name in ("victim", "victim", "other")
        )
        body = victim.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        forged = unsigned(**claims)
        self.assertEqual(self.ask(SECRET, {"Authorization": f"Bearer {victim}"}), 200)
        attempts = {
            "dropped": {"Authorization": f"Bearer {forged}", "Connection": "authorization"},
            "beside": {
                "Authorization": f"Bearer {forged}",
                "Sec-WebSocket-Protocol": f"v5.channel.k8s.io, {subprotocol(other.encode()).decode()}",
                **WEBSOCKET,
            },
            "alone": {"Authorization": f"Bearer {forged}"},
        }
        asked = {name: self.ask("/version", headers) for name, headers in attempts.items()}
        self.assertEqual(asked, {"dropped": 200, "beside": 200, "alone": 401})
        self.environment.cluster.stop("kube-apiserver")
        wait_until(lambda: lite.state == "offline", "lite-apiserver is offline")
        self.assertEqual(self.ask(SECRET, {"Authorization": f"Bearer {victim}"}), 200)
        found = {name: self.ask(SECRET, headers) for name, headers in attempts.items()}
        self.assertEqual(found, {"dropped": 503, "beside": 401, "alone": 401})
        self.assertEqual(self.ask(SECRET, {"Authorization": f"Bearer {unseen}"}), 401)
