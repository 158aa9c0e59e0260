from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from superedge.kube.request import parse_request
from superedge.liteapiserver.forward.labels import MAX_RESOURCES, OTHER, RequestLabels


class RequestLabelsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.labels = RequestLabels()

    def ask(self, target: str, status: int, method: bytes = b"GET") -> tuple[str, str]:
        return self.labels.of(parse_request(method, target.encode(), b""), status)

    def test_a_resource_that_is_served(self) -> None:
        self.assertEqual(self.ask("/api/v1/pods", 200), ("list", "pods"))
        self.assertEqual(self.ask("/api/v1/pods?watch=1", 200), ("watch", "pods"))
        self.assertEqual(self.ask("/api/v1/namespaces/a/pods/b", 404), ("get", "pods"))
        self.assertEqual(self.ask("/api/v1/pods", 503, b"DELETE"), ("deletecollection", "pods"))

    def test_what_a_client_makes_up_is_counted_together(self) -> None:
        statuses = (401, 403, 404, 413, 503)
        found = {self.ask(f"/api/v1/made-up-{n}", statuses[n % len(statuses)]) for n in range(10_000)}
        self.assertEqual(found, {("list", "")})

    def test_methods_too(self) -> None:
        found = {
            self.ask(path, 405, b"M%d" % number)
            for number in range(1000)
            for path in ("/api/v1/pods", "/version")
        }
        self.assertEqual(found, {(OTHER, "")})

    def test_a_server_that_serves_everything(self) -> None:
        found = {self.ask(f"/apis/any.example/v1/kind-{number}", 200) for number in range(10_000)}
        self.assertEqual(len(found), MAX_RESOURCES + 1)
        self.assertIn(("list", OTHER), found)
        self.assertEqual(self.ask("/apis/any.example/v1/kind-0", 503), ("list", "kind-0"))
