"""What the parts of the API server contract share: the server under test, clients, assertions."""

from __future__ import annotations

import itertools
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superedge.testing.contracts.client import Answer, Client

if TYPE_CHECKING:
    from twisted.trial.unittest import SynchronousTestCase as Base
else:
    Base = object

_numbers = itertools.count(1)
Object = dict[str, Any]


class ContractServer(ABC):
    """The server under test: its ``url`` and ``ca``, and pairs of certificate and key."""

    url: str
    ca: Path

    @abstractmethod
    def identity(self, common_name: str, organization: str) -> tuple[Path, Path]:
        """A pair of a client."""

    @abstractmethod
    def compact(self) -> None:
        """Make the server forget the history of objects up to now."""

    def client(self, common_name: str, organization: str) -> Client:
        """A client with a certificate."""
        certificate, key = self.identity(common_name, organization)
        return Client(self.url, self.ca, certificate, key)


def configmap(name: str, labels: Object | None = None, **data: Any) -> Object:
    """A ConfigMap."""
    metadata = {"name": name} | ({"labels": labels} if labels else {})
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": data}


class ContractCase(Base):
    """Common to the suite's parts: clients, a namespace, assertions on answers."""

    server: ContractServer

    def setUp(self) -> None:
        """Make this test's namespace."""
        super().setUp()
        self.admin = self.server.client("admin", "system:masters")
        self.namespace = f"contract-{os.getpid()}-{next(_numbers)}"
        body = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": self.namespace}}
        self.ok(self.admin.call("POST", "/api/v1/namespaces", body), 201)
        self.addCleanup(self.admin.call, "DELETE", f"/api/v1/namespaces/{self.namespace}")
        self.configmaps = f"/api/v1/namespaces/{self.namespace}/configmaps"

    def ok(self, answer: Answer, status: int = 200) -> Any:
        """The decoded body of an answer that has to have this status."""
        self.assertEqual(answer.status, status, answer.body[:2000])
        return answer.json

    def failed(self, answer: Answer, code: int, reason: str) -> Any:
        """The Status of an answer that has to fail like this."""
        self.assertEqual(answer.status, code, answer.body[:2000])
        status = answer.json
        self.check_failure(status, code, reason)
        return status

    def check_failure(self, status: Any, code: int, reason: str) -> None:
        """That it is a Status of a failure."""
        shape = {name: status.get(name) for name in ("kind", "apiVersion", "status", "reason", "code")}
        wanted = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}
        self.assertEqual(shape, wanted, status)
        self.assertIsInstance(status["metadata"], dict)
        self.assertTrue(status["message"])

    def create(self, name: str, labels: Object | None = None, **data: Any) -> Any:
        """Create a ConfigMap; the answer."""
        return self.ok(self.admin.call("POST", self.configmaps, configmap(name, labels, **data)), 201)

    def wait(self, condition: Callable[[], Any], seconds: float = 10.0) -> Any:
        """Ask again until the condition holds."""
        end = time.monotonic() + seconds
        while not (result := condition()):
            self.assertLess(time.monotonic(), end, "not in time")
            time.sleep(0.02)
        return result

    def names(self, items: list[Object]) -> list[str]:
        """The names of objects, in their order."""
        return [item["metadata"]["name"] for item in items]
