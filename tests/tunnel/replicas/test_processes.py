"""Three cloud ends as processes, an API server, an edge that moves between them."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.trial.unittest import SynchronousTestCase

from superedge.testing.contracts.case import ContractServer
from tests.testing.server import shared
from tests.tunnel.replicas.processes import Site, wait_until

if TYPE_CHECKING:
    Base = SynchronousTestCase
else:
    Base = object

_numbers = itertools.count(1)


class ReplicaProcesses(Base):
    """Made a test by a class that gives a server and a kubeconfig for it."""

    server: ContractServer
    kubeconfig: Path
    patient = False
    """Also wait until what a dead replica left is collected, which takes two leases."""

    def setUp(self) -> None:
        self.namespace = f"replicas-{os.getpid()}-{next(_numbers)}"
        self.admin = self.server.client("admin", "system:masters")
        self.admin.call("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})
        self.configmaps = f"/api/v1/namespaces/{self.namespace}/configmaps"
        self.permit()
        self.site = Site(self.kubeconfig, self.namespace)
        self.addCleanup(self.site.stop)
        for name in ("a", "b", "c", "edge"):
            self.site.start(name)

    def permit(self) -> None:
        """Let whoever the kubeconfig is for do what replicas do."""

    def resolves(self, name: str, holder: str) -> bool:
        return self.site.resolve(name) == [self.site.address(holder)]

    def ready(self, name: str) -> bool:
        return self.site.readiness(name) == (200, "ok\n")

    def published(self) -> set[str]:
        """The ConfigMaps in which replicas say what they hold."""
        items = json.loads(self.admin.call("GET", self.configmaps).body)["items"]
        names = {str(item["metadata"]["name"]) for item in items}
        return {name for name in names if name.startswith("superedge-tunnel-")}

    def test_one_life(self) -> None:
        """Every replica reaches the node, wherever it is, while its holders are stopped and killed."""
        site = self.site
        for name in "abc":
            wait_until(partial(site.reaches, name), site)
            # The cluster's nodes, which it also waits for, may come after the first caller.
            wait_until(partial(self.ready, name), site)
        self.check_claims()
        first = site.holder()
        for name in "abc":
            wait_until(partial(self.resolves, name, first), site)
        self.assertEqual(
            site.resolve("a", "1.2.0.192.in-addr.arpa", "PTR"), ["edge-1."] if first == "a" else []
        )
        second, third = (name for name in "abc" if name != first)
        status = site.status(second)
        self.assertEqual((status["replica"], status["draining"], status["connected"]), (second, False, 0))
        nodes = {replica["name"]: replica["nodes"] for replica in status["replicas"]}
        self.assertEqual(nodes, {first: 1, third: 0})
        # Open streams: through the holder itself and through another replica.
        near, far = site.connect(first), site.connect(second)
        for sock in (near, far):
            self.addCleanup(sock.close)
        stopping = threading.Thread(target=site.end, args=(first,))
        stopping.start()
        wait_until(lambda: site.holder() not in ("", first), site)
        wait_until(lambda: site.reaches(second) and site.reaches(third), site)
        wait_until(lambda: site.resolve(third) == [site.address(site.holder())], site)
        payload = os.urandom(500_000)
        for sock in (near, far):
            self.exchange(sock, payload)
        stopping.join(20)
        self.assertEqual(site.processes[first].returncode, 0, site.log(first))
        self.assertNotIn("Traceback", site.log(first))
        # What it published is gone with it.
        self.assertNotIn(f"superedge-tunnel-{first}-0", self.published())
        # A crash: no word to anybody.
        holder = site.holder()
        other = second if holder == third else third
        site.end(holder, signal.SIGKILL)
        wait_until(lambda: site.reaches(other), site)
        self.assertEqual(site.holder(), other)
        self.assertEqual(site.resolve(other), [site.address(other)])
        if self.patient:
            wait_until(lambda: self.published() == {f"superedge-tunnel-{other}-0"}, site)
        site.start(first)
        wait_until(lambda: site.reaches(first), site)

    def add_node(self, name: str, hosts: list[str], pods: str) -> None:
        """A Node object that says so of itself."""
        nodes = "/api/v1/nodes"
        addresses = [{"type": "InternalIP", "address": host} for host in hosts]
        item = {
            "metadata": {"name": name},
            "spec": {"podCIDR": pods, "podCIDRs": [pods]},
            "status": {"addresses": addresses},
        }
        self.assertLess(self.admin.call("POST", nodes, item).status, 300)
        self.addCleanup(self.admin.call, "DELETE", f"{nodes}/{name}")

    def check_claims(self) -> None:
        """What a node has stays with it at every replica, whatever another claims."""
        site, own, pod, free = self.site, "198.51.100.7", "198.51.100.130", "198.51.100.9"
        owner, thief = f"{self.namespace}-owner", f"{self.namespace}-thief"
        self.add_node(owner, [own], "198.51.100.128/26")
        for name in "abc":
            wait_until(lambda name=name: self.leads(name, own, owner), site)  # type: ignore[misc]
        nobodys = ("198.51.100.65", "127.0.0.1", "198.51.100.200", "203.0.113.1")
        self.add_node(thief, [own, pod, *nobodys, free], "198.51.100.128/25")
        for name in "abc":
            wait_until(lambda name=name: self.leads(name, free, thief), site)  # type: ignore[misc]
            self.assertIn(f"node {thief} claims the address {own}, which node {owner} has", site.log(name))
            for host in (own, pod):
                self.assertTrue(self.leads(name, host, owner), host)
            for host in nobodys:
                self.assertIn(" 404 ", site.refusal(name, host), host)
            self.assertEqual(site.resolve(name, thief), [own, "203.0.113.1", free])

    def leads(self, replica: str, host: str, node: str) -> bool:
        """Whether an address leads to a node, which is not connected."""
        return f"node {node} is not connected" in self.site.refusal(replica, host)

    def exchange(self, sock: socket.socket, payload: bytes) -> None:
        """Send, end our half, and get every byte back before the other half ends."""

        def send() -> None:
            sock.sendall(payload)
            sock.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        back = b""
        while data := sock.recv(65536):
            back += data
        sender.join()
        self.assertEqual(back, payload)


class EmbeddedReplicaTests(ReplicaProcesses, SynchronousTestCase):
    """On the embedded API server."""

    def setUp(self) -> None:
        self.server = shared()
        self.kubeconfig = shared().kubeconfig
        super().setUp()
