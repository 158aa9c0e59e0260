"""`EmbeddedCluster`: certificates, an API server, nodes and their pods, in one directory."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.web.server import Site

from superedge.config.addresses import Address, TCPAddress
from superedge.interfaces import IReactor
from superedge.net.endpoints import ServerEndpoint
from superedge.testing import auth
from superedge.testing.app import EmbeddedAPI
from superedge.testing.egress import direct, through
from superedge.testing.kubelet import KubeletStandIn
from superedge.testing.operations import WriteOptions
from superedge.testing.resources import Registry
from superedge.testing.storage import Collection, Key, Object, Store
from superedge.tls.authority import Authority
from superedge.tls.contexts import ClientContextSource, ServerContextSource
from superedge.tls.identity import Identity

NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost")


def pod(name: str, node: str, address: str = "") -> dict[str, Any]:
    """A pod of one container, ``main``, that runs on ``node``."""
    containers = [{"name": "main", "image": "test.local/box:1"}]
    return {
        "metadata": {"name": name, "labels": {"app": name.rsplit("-", 1)[0]}},
        "spec": {"nodeName": node, "containers": containers},
        "status": {
            "phase": "Running",
            "podIP": address,
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [
                {
                    "name": "main",
                    "image": "test.local/box:1",
                    "imageID": "",
                    "ready": True,
                    "restartCount": 0,
                    "state": {"running": {}},
                }
            ],
        },
    }


class EmbeddedCluster:
    """A cluster in ``directory``. A later one in the same directory has the same certificates and tokens.

    The API server reaches kubelets through the CONNECT proxy at ``egress``, or directly if there is none.
    ``pki/`` has ``ca.crt`` and pairs for ``admin``, ``apiserver``, ``apiserver-kubelet-client`` and each
    ``system-node-NAME``; ``*.kubeconfig`` are for kubectl. Tests may use ``store`` and ``api``
    directly by tests.
    """

    def __init__(
        self,
        reactor: IReactor,
        directory: Path,
        port: int = 0,
        nodes: Sequence[str] = ("edge-1", "edge-2"),
        store: Store | None = None,
        bookmark_interval: float = 60.0,
        egress: Address | None = None,
    ) -> None:
        self._reactor = reactor
        self.directory = directory
        self.pki = directory / "pki"
        self.nodes = tuple(nodes)
        self._wanted_port = port
        self._listening: IListeningPort | None = None
        directory.mkdir(parents=True, exist_ok=True)
        made = (self.pki / "ca.key").exists()
        self.authority = Authority.load(self.pki) if made else Authority.create(self.pki, "embedded-cluster")
        self.store = store or Store()
        self.registry = Registry()
        self.tokens = auth.Tokens(
            {"admin-token": auth.with_authenticated("token-admin", ["system:masters"])}, self._token_key()
        )
        client = self.identity(
            "kube-apiserver-kubelet-client", ["system:masters"], name="apiserver-kubelet-client"
        )
        tls = ClientContextSource([self.authority.path], client.certificate, client.key)
        self.api = EmbeddedAPI(
            reactor,
            self.store,
            self.registry,
            self.tokens,
            connector=through(reactor, egress, tls) if egress else direct(reactor, tls),
            bookmark_interval=bookmark_interval,
        )
        self.server = ""
        self.kubelets: dict[str, KubeletStandIn] = {}

    def identity(
        self, common_name: str, organizations: Sequence[str] = (), dns: Sequence[str] = (), name: str = ""
    ) -> Identity:
        """Issue a certificate for a client or server."""
        return self.authority.issue(
            common_name, organizations, dns, ["127.0.0.1"], directory=self.pki, name=name or None
        )

    def kubeconfig(self, path: Path, identity: Identity | None = None, token: str = "") -> Path:
        """Write a kubeconfig for a certificate or a bearer token."""
        user: dict[str, str] = {"token": token} if token else {}
        if identity is not None:
            user = {"client-certificate": str(identity.certificate), "client-key": str(identity.key)}
        cluster = {"server": self.server, "certificate-authority": str(self.authority.path)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "default",
            "clusters": [{"name": "embedded", "cluster": cluster}],
            "users": [{"name": "user", "user": user}],
            "contexts": [{"name": "default", "context": {"cluster": "embedded", "user": "user"}}],
        }
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file)
        return path

    async def start(self) -> None:
        """Listen, create missing nodes and pods, and write the kubeconfigs."""
        pair = self.authority.issue(
            "kube-apiserver", dns=NAMES, ips=["127.0.0.1"], directory=self.pki, name="apiserver"
        )
        tls = ServerContextSource(pair.certificate, pair.key, [self.authority.path], "optional")
        endpoint = ServerEndpoint(self._reactor, TCPAddress("127.0.0.1", self._wanted_port), tls)
        site = Site(self.api.app.resource())
        self._listening = await endpoint.listen(cast(Any, site))
        port = cast(Any, self._listening.getHost()).port
        self.server = f"https://127.0.0.1:{port}"
        self.kubeconfig(self.directory / "admin.kubeconfig", self.identity("admin", ["system:masters"]))
        self.kubeconfig(self.directory / "token.kubeconfig", token="admin-token")
        for node in self.nodes:
            pair = self.identity(f"system:node:{node}", ["system:nodes"], [node])
            self.kubeconfig(self.directory / f"{node}.kubeconfig", pair)
            kubelet = KubeletStandIn(
                self._reactor, node, pair, self.authority.path, partial(self.pods_of, node)
            )
            kubelet.startService()
            self.kubelets[node] = kubelet
        self._seed()

    def pods_of(self, node: str) -> list[Object]:
        """The pods bound to a node."""
        stored = self.store.snapshot(Collection("", "pods"))
        return [pod.object for pod in stored if pod.object["spec"].get("nodeName") == node]

    async def stop(self) -> None:
        """Close the listener and end the watches."""
        self.api.close()
        for kubelet in self.kubelets.values():
            kubelet.stopService()
        if self._listening is not None:
            await maybeDeferred(self._listening.stopListening)

    def make(self, group: str, plural: str, namespace: str, item: dict[str, Any]) -> None:
        """Create an object with its status unless it exists."""
        resource = self.registry.find(group, "v1", plural)
        if resource is None:
            raise KeyError(plural)
        name = item["metadata"]["name"]
        operations, options = self.api.operations, WriteOptions(self._reactor.seconds(), "embedded-cluster")
        collection = Collection(group, plural)
        if self.store.get(collection, Key(namespace, name)) is not None:
            return
        made = operations.create(resource, namespace, item, options)
        if item.get("status"):
            changed = {**made, "status": {**made.get("status", {}), **item["status"]}}
            operations.update(resource, Key(namespace, name), changed, options, "status")

    def _seed(self) -> None:
        for namespace in ("default", "kube-system", "kube-public", "kube-node-lease"):
            self.make("", "namespaces", "", {"metadata": {"name": namespace}})
        self.make("", "serviceaccounts", "default", {"metadata": {"name": "default"}})
        for number, node in enumerate(self.nodes):
            status = {
                "addresses": [
                    {"type": "Hostname", "address": node},
                    {"type": "InternalIP", "address": "127.0.0.1"},
                ],
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": self.kubelets[node].port}},
                "nodeInfo": {"kubeletVersion": "v1.37.0", "osImage": "stand-in"},
            }
            labels = {"kubernetes.io/hostname": node}
            self.make("", "nodes", "", {"metadata": {"name": node, "labels": labels}, "status": status})
            self.make("", "pods", "default", pod(f"web-{number}", node, f"10.64.{number}.2"))

    def _token_key(self) -> bytes:
        path = self.pki / "tokens.key"
        if not path.exists():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(auth.Tokens().private_pem())
        return path.read_bytes()
