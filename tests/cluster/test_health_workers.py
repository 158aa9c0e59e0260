"""Edge health on real kubelets and containers: one node loses the cloud, two others die."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from tests.cluster.edgenodes import RealNode
from tests.cluster.edgesites import DEPLOY, EdgeSites, seconds_until
from tests.cluster.environment import SKIP, wait_until
from tests.controlplane.worker import IMAGE

LEASE, GRACE, TOLERATION = 12, 14, 5
DEAD = ("superedge.io/dead", "NoExecute")
EVICTED = ("node.kubernetes.io/unreachable", "NoExecute")
SERVER = {
    "name": "main",
    "image": IMAGE,
    "imagePullPolicy": "Never",
    "command": ["sh", "-c", "echo served > /tmp/page; exec httpd -f -p 8080 -h /tmp"],
    "readinessProbe": {"httpGet": {"port": 8080, "path": "/page"}, "periodSeconds": 1},
}
PATIENCE = 12
"""Seconds for which a pod tolerates a dead node: long enough to tell it from those that do not."""
DEADLINE = 90
"""Seconds after which what has to come about counts as failed."""
SLEEPER = {"name": "main", "image": IMAGE, "imagePullPolicy": "Never"}
_log = Logger()


def tolerates(taint: tuple[str, str], **more: Any) -> dict[str, Any]:
    key, effect = taint
    return {"tolerations": [{"key": key, "operator": "Exists", "effect": effect, **more}]}


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


class RealKubeletTests(SynchronousTestCase):
    """Four nodes of one site, each with one pod of a Deployment at first."""

    skip = SKIP

    def setUp(self) -> None:
        directory = Path(tempfile.mkdtemp(prefix="superedge-health-"))
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        self.sites = sites = EdgeSites(directory, lease=LEASE, grace=GRACE, toleration=TOLERATION)
        self.addCleanup(sites.stop)
        sites.up()
        sites.kubectl("apply", "-f", str(DEPLOY / "health-policy.yaml"))
        sites.start_cloud('failover = "native"\n')
        sites.add("real", 1, 2, 3, 4, kind=RealNode)
        sites.wait_ready(DEADLINE)
        sites.deploy("real", 4, "real", containers=[SERVER])
        wait_until(
            lambda: sites.status().get("enforcement_fault") == "", "the enforcement is proven", DEADLINE
        )

    def served(self, node: str, address: str) -> bool:
        page = f"http://{address}:8080/page"
        return self.sites.nodes[node].run("curl", "-s", "-m", "2", page).stdout == "served\n"

    def on(self, node: str) -> dict[str, str]:
        """The pods of a node that are not on their way out, and their addresses."""
        pods = self.sites.pods("real").items()
        return {name: pod["status"]["podIP"] for name, pod in pods if pod["spec"]["nodeName"] == node}

    def replaced(self, node: str) -> Callable[[], bool]:
        def found() -> bool:
            nodes = self.sites.endpoints("real").values()
            return len(nodes) == 4 and node not in nodes

        return found

    def dies(self, node: str, taint: tuple[str, str], failover: str) -> None:
        """Until its pod is replaced; the times are logged."""
        sites, started = self.sites, time.monotonic()
        self.assertTrue(self.on(node), f"{node} has a pod to be replaced")
        with ThreadPoolExecutor(1) as hand:
            hand.submit(sites.nodes[node].die)
            verdict = seconds_until(lambda: sites.verdicts(node) == {"dead"}, "it is held dead", DEADLINE)
            wait_until(lambda: taint in sites.taints(node), f"{node} is evicted", DEADLINE)
            evicted = time.monotonic() - started
            wait_until(self.replaced(node), "a replacement runs", DEADLINE)
        _log.info(
            "{failover}: dead after {verdict:.1f}, evicted {evicted:.1f}, replaced {replaced:.1f} seconds",
            failover=failover,
            verdict=verdict,
            evicted=evicted,
            replaced=time.monotonic() - started,
        )

    def other(self, name: str) -> dict[str, Any]:
        """A pod that is no Deployment's; empty when there is none."""
        return next(iter(self.sites.get("pods", "-l", f"other={name}")["items"]), {})

    def add_other_kinds(self, node: str) -> None:
        """Pods on the node: a DaemonSet's, a StatefulSet's, a static one, and three with tolerations."""
        sites, host = self.sites, {"kubernetes.io/hostname": node}
        term = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
        prefers = {"weight": 100, "preference": {"matchExpressions": [term]}}
        affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [prefers]}}
        specs: dict[str, dict[str, Any]] = {
            "daemon": {"nodeSelector": host},
            "single": {"affinity": affinity},
            "patient": {"nodeName": node, **tolerates(DEAD, tolerationSeconds=PATIENCE)},
            "staying": {"nodeName": node, **tolerates(DEAD)},
            "native": {"nodeName": node, **tolerates(EVICTED)},
            "static": {},
        }
        for name, spec in specs.items():
            labels = {"other": name}
            pod = {
                "metadata": {"labels": labels},
                "spec": {"containers": [SLEEPER], "terminationGracePeriodSeconds": 1, **spec},
            }
            sets = {"selector": {"matchLabels": labels}, "template": pod}
            item = {"apiVersion": "v1", "kind": "Pod", **pod}
            if name == "daemon":
                item = {"apiVersion": "apps/v1", "kind": "DaemonSet", "spec": sets}
            elif name == "single":
                item = {"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": {**sets, "serviceName": name}}
            item["metadata"] = {"name": name, "namespace": "default", "labels": labels}
            if name == "static":
                worker = sites.nodes[node]
                assert isinstance(worker, RealNode)
                (worker.worker.home / "static" / "static.json").write_text(json.dumps(item))
            else:
                sites.kubectl("apply", "-f", "-", stdin=json.dumps(item))

        def run() -> bool:
            pods = [self.other(name) for name in specs]
            return all(
                pod and pod["spec"].get("nodeName") == node and pod["status"]["phase"] == "Running"
                for pod in pods
            )

        wait_until(run, "the pods of other kinds run", DEADLINE)
        self.before = {name: self.other(name)["metadata"]["uid"] for name in specs}

    def others_are_as_kubernetes_has_it(self, node: str) -> None:
        """While it is dead nothing runs twice and nothing is written again and again; then they come back."""
        sites = self.sites
        wait_until(
            lambda: "deletionTimestamp" in self.other("patient")["metadata"], "patience ends", DEADLINE
        )
        pods = {name: self.other(name) for name in self.before}
        ended = {name for name, pod in pods.items() if "deletionTimestamp" in pod["metadata"]}
        self.assertEqual(ended, {"daemon", "single", "patient", "native"})
        since = next(
            seconds(taint["timeAdded"])
            for taint in sites.node(node)["spec"]["taints"]
            if (taint["key"], taint["effect"]) == DEAD
        )
        waited = {name: seconds(pods[name]["metadata"]["deletionTimestamp"]) - 1 - since for name in ended}
        self.assertGreaterEqual(waited["patient"], PATIENCE - 1)
        for name in ended - {"patient"}:
            self.assertLess(waited[name], PATIENCE - 1, name)
        versions = {name: pod["metadata"]["resourceVersion"] for name, pod in pods.items()}
        time.sleep(3)
        for name, version in versions.items():
            found = sites.get("pods", "-l", f"other={name}")["items"]
            self.assertEqual([each["metadata"]["uid"] for each in found], [self.before[name]], name)
            self.assertEqual(found[0]["metadata"]["resourceVersion"], version, f"{name} is written")
        started = time.monotonic()
        sites.nodes[node].revive()

        def anew(name: str) -> bool:
            pod = self.other(name)
            new = bool(pod) and pod["metadata"]["uid"] != self.before[name]
            return new and pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]

        wait_until(
            lambda: anew("daemon") and anew("single"), "what the kubelet has ended is made anew", DEADLINE
        )
        _log.info("made anew {took:.1f} s after the node's return", took=time.monotonic() - started)
        self.assertEqual(self.other("staying")["metadata"]["uid"], self.before["staying"])

    def test_the_cut_one_serves_and_the_dead_are_replaced(self) -> None:
        sites = self.sites
        ((pod, address),) = self.on("real-1").items()
        sites.nodes["real-1"].cut_cloud()
        started = time.monotonic()
        self.dies("real-2", EVICTED, "native")
        wait_until(lambda: sites.ready("real-1") == "Unknown", "the cut node is lost", DEADLINE)

        def kept() -> bool:
            ready = sites.endpoints("real").get(pod) == "real-1" and pod in sites.pods("real")
            return ready and self.served("real-1", address)

        while time.monotonic() - started < GRACE + TOLERATION + 10:
            self.assertTrue(kept(), "the pod of a cut node runs, is an endpoint, and serves")
            time.sleep(1)
        self.assertNotIn(EVICTED, sites.taints("real-1"))
        sites.stop_cloud()
        sites.start_cloud('failover = "fast"\n')
        wait_until(
            lambda: sites.status().get("enforcement_fault") == "", "the enforcement is proven", DEADLINE
        )
        self.add_other_kinds("real-3")
        self.dies("real-3", DEAD, "fast")
        self.others_are_as_kubernetes_has_it("real-3")
        self.assertTrue(kept(), "and after all that")
        containers = sites.nodes["real-1"]
        assert isinstance(containers, RealNode)
        self.assertEqual(containers.worker.running(), 2 * len(self.on("real-1")))
        containers.join_cloud()
        wait_until(
            lambda: sites.ready("real-1") == "True" and not sites.taints("real-1"), "it is back", DEADLINE
        )
        self.assertIn(pod, self.on("real-1"))
