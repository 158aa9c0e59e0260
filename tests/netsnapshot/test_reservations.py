"""When a reservation ends: only after lists that the API server itself answered, and that are whole."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.kube.errors import APIError, DecodeError, Unavailable
from superedge.netsnapshot.pods import PodName, Reservation, gone, read_pods
from superedge.netsnapshot.reservations import NODE_INTERVAL, Releaser
from tests.events import logged
from tests.netsnapshot.threads import Threads

NODE = {
    "metadata": {"name": "edge-3", "uid": "n"},
    "spec": {"podCIDRs": ["10.244.3.0/24", "fd00:3::/64"]},
}


def pod(name: str, uid: str = "", node: str = "edge-3", **annotations: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "uid": uid or f"uid-{name}", "annotations": annotations}
    return {"metadata": metadata, "spec": {"nodeName": node}}


def listed(*pods: dict[str, Any], kind: str = "PodList", **metadata: str) -> bytes:
    return json.dumps({"kind": kind, "metadata": metadata, "items": pods}).encode()


class Held:
    """One of superedge-ipam's reservations."""

    def __init__(self, name: str, state: str = "reserved", uid: str = "") -> None:
        self.namespace, self.pod, self.uid = "shop" if name else "", name, uid or f"uid-{name}"
        self.state = state
        self.addresses = ("10.244.3.7",)


class Store:
    """superedge-ipam's store; ``keeps`` are names whose network is configured to keep them."""

    def __init__(self, *held: Held) -> None:
        self.held = list(held)
        self.keeps: set[str] = set()
        self.fault: Exception | None = None

    def reservations(self) -> list[Held]:
        if self.fault is not None:
            raise self.fault
        return list(self.held)

    def release(self, namespace: str, name: str, uid: str) -> list[Held]:
        ended = [
            each
            for each in self.held
            if (each.namespace, each.pod, each.uid, each.state) == (namespace, name, uid, "reserved")
            and name not in self.keeps
        ]
        self.held = [each for each in self.held if each not in ended]
        return ended

    def names(self) -> set[str]:
        return {each.pod for each in self.held}


class API:
    """Answers as a test says."""

    def __init__(self) -> None:
        self.pods: bytes | Exception = listed()
        self.node: bytes | Exception = json.dumps(NODE).encode()
        self.asked: list[str] = []

    async def read_confirmed(self, path: str, query: dict[str, str] | None = None) -> bytes:
        self.asked.append(path)
        if path == "/api/v1/pods":
            assert query == {"fieldSelector": "spec.nodeName=edge-3"}
        answer = self.pods if path == "/api/v1/pods" else self.node
        if isinstance(answer, Exception):
            raise answer
        return answer


class PodListTests(SynchronousTestCase):
    def test_static_pods_have_two_uids(self) -> None:
        body = listed(pod("web"), pod("etcd-edge-3", "mirror", **{"kubernetes.io/config.hash": "kubelets"}))
        found = read_pods(body, "edge-3")
        self.assertEqual(found[PodName("shop", "web")], {"uid-web"})
        self.assertEqual(found[PodName("shop", "etcd-edge-3")], {"mirror", "kubelets"})

    def test_lists_from_which_nothing_follows(self) -> None:
        for body in (
            b"",
            b"{}",
            listed(kind="Status"),
            listed(pod("web"), **{"continue": "more"}),
            listed(pod("web"), pod("db", node="edge-4")),
            listed({"metadata": {"name": "x"}}),
            b'{"kind":"PodList","metadata":{},"items":null}',
        ):
            self.assertRaises(DecodeError, read_pods, body, "edge-3")

    def test_whose_pods_are_gone(self) -> None:
        reserved = {
            Reservation(PodName("shop", name), uid) for name, uid in (("a", "1"), ("b", "2"), ("c", ""))
        }
        found = {PodName("shop", "b"): frozenset({"9"}), PodName("shop", "c"): frozenset({"3"})}
        self.assertEqual({each.pod.name for each in gone(reserved, set(), found)}, {"a", "b"})


class ReleaserTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.api = API()
        self.store = Store(Held("web"), Held("db", "attached"), Held("", "attached"))
        self.api.pods = listed(pod("db"))
        reactor: Any = Threads(self.clock)
        store: Any = self.store
        self.releaser = Releaser(reactor, self.api, "edge-3", store, 60.0)
        self.networks: list[tuple[str, ...]] = []
        self.releaser.on_networks(lambda: self.networks.append(self.releaser.networks))

    def start(self) -> None:
        self.releaser.startService()
        self.addCleanup(self.releaser.stopService)

    def rounds(self, count: int) -> None:
        self.clock.pump([60.0] * count)

    def fault(self) -> str:
        return str(self.releaser.status()["fault"])

    def test_two_lists_in_a_row_do_not_have_the_pod(self) -> None:
        events = logged(self)
        self.start()
        self.assertEqual(self.store.names(), {"web", "db", ""})
        self.rounds(1)
        self.assertEqual(self.store.names(), {"db", ""})
        self.assertEqual(self.releaser.status()["released"], 1)
        self.assertEqual([each for each in events if each.get("pod") == "web"][0]["addresses"], "10.244.3.7")

    def test_a_pod_that_is_in_the_second_list(self) -> None:
        self.start()
        for body in (listed(pod("db"), pod("web")), listed(pod("db")), listed(pod("db"), pod("web"))):
            self.api.pods = body
            self.rounds(1)
        self.assertIn("web", self.store.names())

    def test_no_list_counts_that_is_not_confirmed_and_whole(self) -> None:
        self.start()
        for answer, said in (
            (Unavailable("the API server did not answer itself: 110"), "did not answer itself"),
            (Unavailable("Connection refused"), "refused"),
            (APIError(403, "Forbidden", "no"), "no"),
            (APIError(500, "", "broken"), "broken"),
            (listed(pod("db"), **{"continue": "x"}), "not whole"),
            (listed(pod("db", node="edge-4")), "of the node 'edge-4'"),
            (listed(), "none of the pods that run here"),
            (listed(kind="Status"), "not a PodList"),
        ):
            self.api.pods = answer
            self.rounds(3)
            self.assertIn("web", self.store.names(), said)
            self.assertIn(said, self.fault())
            # The list before the failed one does not count as the first of two.
            self.api.pods = listed(pod("db"))
            self.rounds(1)
            self.assertIn("web", self.store.names(), said)
            self.assertEqual(self.fault(), "")

    def test_the_node_must_be_there(self) -> None:
        self.start()
        for answer in (APIError(404, "NotFound", 'nodes "edge-3" not found'), Unavailable("away")):
            self.api.node = answer
            self.releaser._missing.clear()
            self.api.asked.clear()
            self.rounds(3)
            self.assertIn("web", self.store.names())
            self.assertNotIn("/api/v1/pods", self.api.asked)

    def test_an_empty_list_of_a_node_that_runs_nothing(self) -> None:
        self.store.held = [Held("web")]
        self.api.pods = listed()
        self.start()
        self.rounds(1)
        self.assertEqual(self.store.names(), set())

    def test_nothing_is_asked_while_nothing_is_reserved(self) -> None:
        self.store.held = [Held("db", "attached")]
        self.start()
        self.rounds(10)
        self.assertEqual(self.api.asked, ["/api/v1/nodes/edge-3"])
        self.clock.pump([60.0] * int(NODE_INTERVAL / 60))
        self.assertEqual(self.api.asked, ["/api/v1/nodes/edge-3"] * 2)

    def test_what_its_network_keeps_is_not_asked_for_again(self) -> None:
        self.store.keeps = {"web"}
        self.start()
        self.rounds(1)
        asked = len(self.api.asked)
        self.rounds(5)
        self.assertEqual(len(self.api.asked), asked)
        self.assertIn("web", self.store.names())

    def test_a_pod_of_the_same_name_made_anew(self) -> None:
        self.api.pods = listed(pod("db"), pod("web", "another"))
        self.start()
        self.store.held.append(Held("web", "attached", "another"))
        self.rounds(1)
        self.assertEqual([each.uid for each in self.store.held if each.pod == "web"], ["another"])

    def test_the_nodes_pod_networks(self) -> None:
        self.start()
        self.rounds(2)
        self.assertEqual(self.networks, [("10.244.3.0/24", "fd00:3::/64")])

    def test_a_directory_that_cannot_be_used(self) -> None:
        self.store.fault = PermissionError(13, "Permission denied", "/var/lib/cni/networks/edge/state")
        self.start()
        self.assertIn("/var/lib/cni/networks/edge/state", self.fault())
        self.store.fault = None
        self.rounds(2)
        self.assertEqual((self.fault(), self.store.names()), ("", {"db", ""}))
