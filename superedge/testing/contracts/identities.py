"""The contract's part on who a client is: certificates, bearer tokens, nobody."""

from __future__ import annotations

from typing import Any

from superedge.testing.contracts.case import ContractCase
from superedge.testing.contracts.client import Answer, Client

_REVIEW = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}


class IdentityContract(ContractCase):
    """Certificates and tokens make users."""

    def _review(self, client: Client) -> Answer:
        return client.call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", _REVIEW)

    def _who(self, client: Client) -> Any:
        return self.ok(self._review(client), 201)["status"]["userInfo"]

    def _token(self) -> str:
        accounts = f"/api/v1/namespaces/{self.namespace}/serviceaccounts"
        account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "robot"}}
        self.ok(self.admin.call("POST", accounts, account), 201)
        request = {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "spec": {"expirationSeconds": 600},
        }
        answer = self.ok(self.admin.call("POST", f"{accounts}/robot/token", request), 201)
        self.assertTrue(answer["status"]["expirationTimestamp"])
        return str(answer["status"]["token"])

    def test_certificate(self) -> None:
        """The common name is the user, organizations are groups."""
        user = self._who(self.admin)
        self.assertEqual(user["username"], "admin")
        self.assertEqual(set(user["groups"]), {"system:masters", "system:authenticated"})
        node = self._who(self.server.client("system:node:contract", "system:nodes"))
        self.assertEqual(node["username"], "system:node:contract")
        self.assertIn("system:nodes", node["groups"])

    def test_service_account_token(self) -> None:
        """A token from the token subresource is the service account."""
        user = self._who(Client(self.server.url, self.server.ca, token=self._token()))
        self.assertEqual(user["username"], f"system:serviceaccount:{self.namespace}:robot")
        self.assertLessEqual(
            {
                "system:serviceaccounts",
                f"system:serviceaccounts:{self.namespace}",
                "system:authenticated",
            },
            set(user["groups"]),
        )

    def test_token_review(self) -> None:
        """A TokenReview says whose token it is, or that it is nobody's."""
        path = "/apis/authentication.k8s.io/v1/tokenreviews"
        kind = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1"}
        good = self.ok(self.admin.call("POST", path, kind | {"spec": {"token": self._token()}}), 201)
        self.assertTrue(good["status"]["authenticated"])
        self.assertTrue(good["status"]["user"]["username"].endswith(":robot"))
        bad = self.ok(self.admin.call("POST", path, kind | {"spec": {"token": "what is this"}}), 201)
        self.assertFalse(bad["status"].get("authenticated", False))

    def test_unknown_token(self) -> None:
        """A token that nobody issued is 401, never anonymous."""
        stranger = Client(self.server.url, self.server.ca, token="not-a-token")
        self.failed(stranger.call("GET", self.configmaps), 401, "Unauthorized")
        forged = self._token()[:-6] + "AAAAAA"
        self.failed(self._review(Client(self.server.url, self.server.ca, token=forged)), 401, "Unauthorized")

    def test_anonymous(self) -> None:
        """Without credentials there is health and nothing of the cluster."""
        nobody = Client(self.server.url, self.server.ca)
        self.assertEqual(nobody.call("GET", "/readyz").status, 200)
        status = self.failed(nobody.call("GET", self.configmaps), 403, "Forbidden")
        self.assertEqual(status["details"], {"kind": "configmaps"})
        self.assertEqual(
            status["message"],
            'configmaps is forbidden: User "system:anonymous" cannot list resource "configmaps" '
            f'in API group "" in the namespace "{self.namespace}"',
        )

    def test_impersonation(self) -> None:
        """Those who may, act as somebody else."""
        headers = {"Impersonate-User": "jane", "Impersonate-Group": "sales"}
        answer = self.admin.call(
            "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", _REVIEW, headers=headers
        )
        user = self.ok(answer, 201)["status"]["userInfo"]
        self.assertEqual(
            (user["username"], sorted(user["groups"])), ("jane", ["sales", "system:authenticated"])
        )
