"""client-go's informers, and whether what their stores hold is what is true."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from superedge.testing.contracts.client import Client
from tests.cluster.clients import build
from tests.cluster.environment import Environment, EnvironmentCase, wait_until
from tests.cluster.lite import LiteAPIServer
from tests.liteapiserver.differential import GROUP

NODE = "shop-7"
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
TILLS = f"/apis/{GROUP}/v1/namespaces/default/tills"
# name: form, resource, namespace, fields, labels; and the query that asks for the same.
FOLLOWED: dict[str, tuple[str, str, dict[str, str]]] = {
    "json": ("json configmaps.v1 default - -", CONFIGMAPS, {}),
    "protobuf": ("protobuf configmaps.v1 - - -", "/api/v1/configmaps", {}),
    "metadata": ("metadata configmaps.v1 default - -", CONFIGMAPS, {}),
    "kubelet": (
        f"protobuf pods.v1 - spec.nodeName={NODE} -",
        "/api/v1/pods",
        {"fieldSelector": f"spec.nodeName={NODE}"},
    ),
    "one": (
        "protobuf configmaps.v1 default metadata.name=cm-1 -",
        CONFIGMAPS,
        {"fieldSelector": "metadata.name=cm-1"},
    ),
    "labels": ("json configmaps.v1 default - app=web", CONFIGMAPS, {"labelSelector": "app=web"}),
    "nodes": ("protobuf nodes.v1 - - -", "/api/v1/nodes", {}),
    "services": ("protobuf services.v1 - - -", "/api/v1/services", {}),
    "slices": (
        "protobuf endpointslices.v1.discovery.k8s.io - - -",
        "/apis/discovery.k8s.io/v1/endpointslices",
        {},
    ),
}
CUSTOM: tuple[str, str, dict[str, str]] = ("dynamic tills.v1." + GROUP + " default - -", TILLS, {})


class Informers:
    """The Go program, told what to follow."""

    def __init__(self, kubeconfig: Path, log: Path, watch_list: bool) -> None:
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [build("informer"), f"-kubeconfig={kubeconfig}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**os.environ, "KUBE_FEATURE_WatchListClient": str(watch_list).lower()},
            )

    def ask(self, command: str) -> Any:
        """Its answer to a command."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise AssertionError(f"{command}: {answer['error']}")
        return answer

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


class InformerCase(EnvironmentCase):
    """Tests of informers behind ``lite``; ``direct`` asks the API server itself."""

    lite: LiteAPIServer
    direct: Client

    @classmethod
    def begin(cls, environment: Environment, lite: LiteAPIServer) -> None:
        """To be called by `prepare`."""
        cls.lite = lite
        admin = environment.cluster.certificate("admin", ["system:masters"])
        pki = environment.cluster.pki
        cls.direct = Client(environment.cluster.server, pki / "ca.crt", admin.certificate, admin.key)

    def make(self, path: str, body: dict[str, Any]) -> None:
        answer = self.direct.call("POST", path, body)
        self.assertEqual(answer.status, 201, answer.body)

    def configmap(self, name: str, data: str = "x") -> dict[str, Any]:
        metadata = {"name": name, "labels": {"app": "web" if name.endswith("1") else "db"}}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"data": data}}

    def truth(self, path: str, query: dict[str, str]) -> dict[str, str]:
        """Versions by namespace and name, as the API server itself says."""
        items = self.direct.call("GET", f"{path}?{urlencode(query)}").json["items"]
        metas = [item["metadata"] for item in items]
        return {f"{meta.get('namespace', '')}/{meta['name']}": meta["resourceVersion"] for meta in metas}

    def check(self, informers: Informers, names: list[str], truth: dict[str, dict[str, str]]) -> None:
        """That every informer comes to hold the truth."""
        for name in names:
            wanted = truth[name]

            def agrees(name: str = name, wanted: dict[str, str] = wanted) -> bool:
                shown = informers.ask(f"show {name}")
                return bool(shown["synced"]) and shown["objects"] == wanted

            try:
                wait_until(agrees, name, 30)
            except AssertionError:
                shown = informers.ask(f"show {name}")
                raise AssertionError(f"{name} shows {shown}, but the truth is {wanted}") from None

    def informers(self, watch_list: bool) -> Informers:
        """A program that begins now and ends with the test."""
        found = Informers(self.lite.kubeconfig, self.environment.directory / "informer.log", watch_list)
        self.addCleanup(found.stop)
        return found

    def truths(self, followed: dict[str, tuple[str, str, dict[str, str]]]) -> dict[str, dict[str, str]]:
        return {name: self.truth(path, query) for name, (_, path, query) in followed.items()}
