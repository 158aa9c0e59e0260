"""client-go's informers behind lite-apiserver: what their stores hold is what is true, or was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from superedge.testing.contracts.client import Client
from tests.cluster.clients import build
from tests.cluster.environment import Environment, EnvironmentCase, wait_until
from tests.cluster.lite import LiteAPIServer
from tests.liteapiserver.differential import DEFINITION, GROUP

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


class WatchListTests(EnvironmentCase):
    """Informers as they are since client-go 0.35: one WatchList instead of a list and a watch."""

    watch_list = True
    lite: LiteAPIServer
    direct: Client

    @classmethod
    def prepare(cls, environment: Environment) -> None:
        environment.cluster.up()
        cls.lite = LiteAPIServer(environment)
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

    def informers(self) -> Informers:
        found = Informers(self.lite.kubeconfig, self.environment.directory / "informer.log", self.watch_list)
        self.addCleanup(found.stop)
        return found

    def truths(self, followed: dict[str, tuple[str, str, dict[str, str]]]) -> dict[str, dict[str, str]]:
        return {name: self.truth(path, query) for name, (_, path, query) in followed.items()}

    def test_online_outage_crash_and_recovery(self) -> None:
        lite, cluster = self.lite, self.environment.cluster
        made = [self.configmap(f"cm-{number}", "x" * 4000) for number in range(100)]
        for body in made:  # so many that WatchLists come in gzip
            self.make(CONFIGMAPS, body)
        container = {"name": "main", "image": "test.local/box:1"}
        account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}}
        self.direct.call("POST", "/api/v1/namespaces/default/serviceaccounts", account)
        for number in range(3):
            spec = {"containers": [container], "nodeName": NODE if number else "elsewhere"}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"pod-{number}"}, "spec": spec}
            self.make(PODS, pod)
        first = self.informers()
        followed = dict(FOLLOWED)
        for name, (what, _, _) in followed.items():
            first.ask(f"follow {name} {what}")
        self.check(first, list(followed), self.truths(followed))

        # A kind of resource that is made while everything runs.
        self.make("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", DEFINITION)
        wait_until(lambda: self.direct.call("GET", TILLS).status == 200, "the custom resource is served")
        followed["tills"] = CUSTOM
        first.ask(f"follow tills {CUSTOM[0]}")
        till = {"apiVersion": f"{GROUP}/v1", "kind": "Till", "metadata": {"name": "front"}, "spec": {"a": 1}}
        self.make(TILLS, till)
        self.direct.call("DELETE", f"{CONFIGMAPS}/cm-2")
        self.make(CONFIGMAPS, self.configmap("late-1"))
        truths = self.truths(followed)
        self.check(first, list(followed), truths)
        asked = first.ask("requests")
        self.assertEqual(asked["watchlist"] > 0, self.watch_list, asked)

        cluster.stop("kube-apiserver", signal.SIGKILL)
        wait_until(lambda: lite.state == "offline", "the outage is noticed")
        self.check(first, list(followed), truths)
        second = self.informers()  # a program that starts in the outage
        for name, (what, _, _) in followed.items():
            second.ask(f"follow {name} {what}")
        self.check(second, list(followed), truths)

        lite.crash()
        lite.start()
        wait_until(lambda: lite.state == "offline", "lite-apiserver is back")
        third = self.informers()
        for name, (what, _, _) in followed.items():
            third.ask(f"follow {name} {what}")
        everyone = (first, second, third)
        for informers in everyone:
            self.check(informers, list(followed), truths)

        cluster.start("kube-apiserver")
        cluster.wait_until_ready()
        wait_until(lambda: self.direct.call("GET", TILLS).status == 200, "the custom resource is served")
        self.make(CONFIGMAPS, self.configmap("recovered-1"))
        self.direct.call("DELETE", f"{CONFIGMAPS}/cm-3")
        self.direct.call("DELETE", f"{PODS}/pod-1", gracePeriodSeconds="0")
        wait_until(lambda: lite.state == "online", "the cloud is back")
        truths = self.truths(followed)
        for informers in everyone:
            self.check(informers, list(followed), truths)
        self.addCleanup(self.direct.call, "DELETE", CONFIGMAPS)


class ListAndWatchTests(WatchListTests):
    """Informers as they were before: a list, then a watch."""

    watch_list = False
