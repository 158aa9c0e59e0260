"""What the webhook answers, and its server."""

from __future__ import annotations

import json
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from superedge.config.addresses import TCPAddress
from superedge.health.cloud.admission import serving, webhook
from superedge.health.cloud.admission.reviews import ReviewError, answer
from superedge.health.cloud.admission.webhook import Webhook
from superedge.kube.access import Access
from superedge.kube.client import KubeClient
from superedge.net.endpoints import ClientEndpoint
from superedge.net.factory import CallableFactory
from superedge.testing.patch import json_patch
from superedge.tls.contexts import ClientContextSource
from tests.kube.contract import ClientContract

UNTIL = datetime(2026, 11, 28, 12, tzinfo=UTC).timestamp()
KEPT = {"edge-1": UNTIL}
IN_TIME, LATE = "2026-11-28T11:59:59Z", "2026-11-28T12:00:00Z"


def taint(key: str, effect: str, added: str | None = None) -> dict[str, Any]:
    return {"key": key, "effect": effect, **({"timeAdded": added} if added else {})}


UNREACHABLE = "node.kubernetes.io/unreachable"


def node(*taints: dict[str, Any], name: str = "edge-1") -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"taints": list(taints)} if taints else {}}


def pod(*conditions: tuple[str, str, str], name: str = "edge-1") -> dict[str, Any]:
    said = [{"type": kind, "status": status, "lastTransitionTime": at} for kind, status, at in conditions]
    return {"metadata": {"name": "p"}, "spec": {"nodeName": name}, "status": {"conditions": said}}


def review(resource: str, item: Any, before: Any = None, **fields: Any) -> bytes:
    kind, _, sub = resource.partition("/")
    request = {
        "uid": "u-1", "resource": {"group": "", "version": "v1", "resource": kind}, "subResource": sub,
        "object": item, "oldObject": before, **fields,
    }  # fmt: skip
    return json.dumps(
        {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}
    ).encode()


class ReviewTests(SynchronousTestCase):
    def after(self, resource: str, item: Any, before: Any = None) -> Any:
        """The object as the API server would have it."""
        body, changes = answer(review(resource, item, before), KEPT)
        response = json.loads(body)["response"]
        self.assertEqual((response["uid"], response["allowed"]), ("u-1", True))
        self.assertEqual("patch" in response, changes)
        if not changes:
            return item
        self.assertEqual(response["patchType"], "JSONPatch")
        changed = json_patch(item, json.loads(b64decode(response["patch"])))
        again, changes = answer(review(resource, changed, before), KEPT)
        self.assertFalse(changes, "it is not idempotent")
        return changed

    def test_the_taint_goes_and_the_others_stay(self) -> None:
        others = [
            taint("a", "NoSchedule"),
            taint(UNREACHABLE, "NoSchedule", IN_TIME),
            taint("b", "NoExecute"),
        ]
        evicts = taint(UNREACHABLE, "NoExecute", IN_TIME)
        for place in range(4):
            taints = [*others[:place], evicts, *others[place:]]
            self.assertEqual(self.after("nodes", node(*taints)), node(*others))

    def test_of_nodes_that_are_not_kept_or_not_any_more_nothing_changes(self) -> None:
        for item in (
            node(taint(UNREACHABLE, "NoExecute", IN_TIME), name="edge-2"),
            node(taint(UNREACHABLE, "NoExecute", LATE)),
            node(taint(UNREACHABLE, "NoExecute")),
            node(taint(UNREACHABLE, "NoExecute", "nonsense")),
            node(taint("superedge.io/dead", "NoExecute", IN_TIME)),
            node(),
        ):
            self.assertEqual(self.after("nodes", item), item)

    def test_a_pod_that_was_ready_stays_so_wherever_the_condition_stands(self) -> None:
        others = [("A", "False", IN_TIME), ("B", "False", IN_TIME), ("ContainersReady", "True", IN_TIME)]
        for place in range(4):
            said = [*others[:place], ("Ready", "False", IN_TIME), *others[place:]]
            was = [("Ready", "True", "2026-01-01T00:00:00Z"), *others]
            changed = self.after("pods/status", pod(*said), pod(*was))
            wanted = [*others[:place], ("Ready", "True", "2026-01-01T00:00:00Z"), *others[place:]]
            self.assertEqual(changed, pod(*wanted))

    def test_pods_that_it_leaves_alone(self) -> None:
        unready, was = ("Ready", "False", IN_TIME), pod(("Ready", "True", IN_TIME))
        for item, before in (
            (pod(unready), pod(("Ready", "False", IN_TIME))),
            (pod(unready), pod()),
            (pod(unready), None),
            (pod(("Ready", "True", IN_TIME)), was),
            (pod(("Ready", "False", LATE)), was),
            (pod(unready, name="edge-2"), was),
            (pod(), was),
            ({"metadata": {}, "spec": {}}, was),
        ):
            self.assertEqual(self.after("pods/status", item, before), item)

    def test_other_objects_are_none_of_its_business(self) -> None:
        evicts = node(taint(UNREACHABLE, "NoExecute", IN_TIME))
        for resource in ("nodes/status", "pods", "widgets"):
            self.assertEqual(self.after(resource, evicts), evicts)
        self.assertEqual(self.after("nodes", None), None)

    def test_what_is_no_review(self) -> None:
        for body in (b"", b"{}", b"[1]", b"\xff", b'{"request": {"uid": 1}}', b"[" * 100_000):
            self.assertRaises(ReviewError, answer, body, KEPT)


class CertificateTests(SynchronousTestCase):
    def test_it_is_good_until_two_thirds_of_its_life(self) -> None:
        now = datetime.now(UTC)
        pair = serving.make_pair(["a.b.svc", "192.0.2.1"], None, now)
        self.assertTrue(pair.good(["a.b.svc", "192.0.2.1"], now))
        self.assertTrue(pair.good(["a.b.svc"], now + timedelta(days=59)))
        self.assertFalse(pair.good(["a.b.svc"], now + timedelta(days=61)))
        self.assertFalse(pair.good(["a.b.svc", "other.svc"], now))
        other = serving.make_pair(["a.b.svc", "192.0.2.1"], None, now)
        for wrong in (
            pair._replace(certificate=b""), pair._replace(key=b""), pair._replace(key=b"garbage"),
            pair._replace(key=other.key), pair._replace(authorities=other.authorities),
        ):  # fmt: skip
            self.assertFalse(wrong.good(["a.b.svc"], now))

    def test_the_next_is_signed_by_the_same_ca(self) -> None:
        now = datetime.now(UTC)
        first = serving.make_pair(["a.b.svc"], None, now)
        second = serving.make_pair(["a.b.svc"], first, now)
        self.assertEqual(second.authorities, first.authorities)
        self.assertNotEqual(second.certificate, first.certificate)

    def test_a_ca_that_ends_gets_another_beside_it(self) -> None:
        now = datetime.now(UTC)
        first = serving.make_pair(["a.b.svc"], None, now)
        second = serving.make_pair(["a.b.svc"], first, now + timedelta(days=3600))
        self.assertTrue(second.authorities.endswith(first.authorities))
        self.assertGreater(len(second.authorities), len(first.authorities))


class Ended(Protocol):
    """Tells when its connection is gone."""

    def __init__(self) -> None:
        self.lost: Deferred[None] = Deferred()

    def connectionLost(self, reason: object = None) -> None:
        self.lost.callback(None)


class ServerTests(TestCase):
    reactor = ClientContract.reactor

    async def setUp(self) -> None:  # type: ignore[override]
        self.webhook = Webhook(self.reactor, "127.0.0.1:0", KEPT)
        directory = Path(self.mktemp())
        pair = serving.make_pair(["localhost"], None, datetime.now(UTC))
        directory.mkdir()
        (directory / "ca.crt").write_bytes(pair.authorities)
        self.webhook.startService()
        self.webhook.serve_with(pair.context())
        address = TCPAddress("127.0.0.1", self.webhook.address.port)
        self.tls = ClientContextSource([directory / "ca.crt"])
        self.client = KubeClient(self.reactor, Access(address, self.tls, server_name="localhost"))

    async def tearDown(self) -> None:  # type: ignore[override]
        self.client.close()
        await self.webhook.stopService()

    async def test_it_answers(self) -> None:
        item = node(taint(UNREACHABLE, "NoExecute", IN_TIME))
        body = await self.client.call("POST", "/keep", body=json.loads(review("nodes", item)))
        self.assertIn("patch", json.loads(body)["response"])

    async def begun(self, head: bytes, part: bytes = b"") -> Any:
        """A connection on which a review has begun."""
        address = TCPAddress("127.0.0.1", self.webhook.address.port)
        endpoint = ClientEndpoint(self.reactor, address, self.tls, "localhost")
        peer = cast(Any, await endpoint.connect(cast(Any, CallableFactory(Ended))))
        peer.transport.write(b"POST /keep HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n\r\n" + part)
        return peer

    async def test_a_body_without_end_is_not_taken(self) -> None:
        for head in (b"Content-Length: 5000000", b"Transfer-Encoding: chunked"):
            await (await self.begun(head)).lost

    async def test_a_slow_client_is_not_waited_for(self) -> None:
        self.patch(webhook, "REQUEST_TIMEOUT", 0.05)
        for part in (b"", b"{"):
            await (await self.begun(b"Content-Length: 5", part)).lost
        await self.test_it_answers()

    async def test_large_reviews_of_strangers_leave_memory_to_the_usual(self) -> None:
        self.patch(webhook, "MAX_LARGE", 2)
        large = [await self.begun(b"Content-Length: 4000000") for _ in range(2)]
        await (await self.begun(b"Content-Length: 4000000")).lost
        await self.test_it_answers()
        for peer in large:
            self.assertFalse(peer.lost.called)
            peer.transport.abortConnection()
            await peer.lost
        while self.webhook._site.large:
            await deferLater(self.reactor, 0)

    async def test_what_is_no_review_is_refused(self) -> None:
        for method, path, code in (("POST", "/keep", 400), ("GET", "/keep", 405), ("POST", "/other", 404)):
            try:
                await self.client.call(method, path, body={})
            except Exception as problem:
                self.assertEqual(getattr(problem, "code", None), code)
            else:
                self.fail(path)
