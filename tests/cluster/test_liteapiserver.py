"""A real kubelet whose API server is lite-apiserver, through an outage, a crash and a power cut."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import Any

from tests.cluster.environment import Environment, EnvironmentCase, wait_until
from tests.cluster.lite import LiteAPIServer
from tests.cluster.test_tunnel import read_lines

NODE = "shop-2"
DEPLOYMENT = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {greeting: hello}
---
apiVersion: v1
kind: Secret
metadata: {name: key}
stringData: {k: v}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      tolerations: [{operator: Exists}]
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: test.local/box:1
        imagePullPolicy: Never
        command: [sh, -c, "cat /key/k; while true; do echo $greeting; sleep 1; done"]
        envFrom: [{configMapRef: {name: settings}}]
        volumeMounts: [{name: key, mountPath: /key}]
      volumes: [{name: key, secret: {secretName: key}}]
"""
CRD = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: tills.shop.example}
spec:
  group: shop.example
  scope: Namespaced
  names: {plural: tills, singular: till, kind: Till}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""
TILL = """
apiVersion: shop.example/v1
kind: Till
metadata: {name: front}
spec: {drawer: 1}
"""
CONTAINERS = 4  # two pods, each with its sandbox


class LiteAPIServerTests(EnvironmentCase):
    """Tests of one class run in the order of their names: the outage comes last."""

    lite: LiteAPIServer

    @classmethod
    def prepare(cls, environment: Environment) -> None:
        environment.cluster.up(controllers=True)
        cls.lite = LiteAPIServer(environment)
        environment.worker(NODE, cls.lite.url, number=6)

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        """As administrator at the node's API server."""
        return self.environment.kubectl(*arguments, stdin=stdin, kubeconfig=self.lite.kubeconfig)

    def pods(self) -> list[dict[str, Any]]:
        found = json.loads(self.environment.kubectl("get", "pods", "-l", "app=web", "-o", "json"))["items"]
        assert isinstance(found, list)
        return found

    def ready(self, count: int) -> bool:
        """Whether that many pods are ready, as the cloud sees them."""
        conditions = [
            condition["status"]
            for pod in self.pods()
            for condition in pod.get("status", {}).get("conditions", [])
            if condition["type"] == "Ready"
        ]
        return conditions == ["True"] * count

    def test_1_kubectl_works_as_with_the_api_server_itself(self) -> None:
        self.kubectl("apply", "-f", "-", stdin=CRD)
        self.kubectl("wait", "--for=condition=Established", "crd/tills.shop.example", "--timeout=30s")
        self.kubectl("apply", "-f", "-", stdin=TILL)
        self.assertEqual(self.kubectl("get", "tills", "-o", "name"), "till.shop.example/front\n")
        self.assertIn("Name:", self.kubectl("describe", "node", NODE))
        self.kubectl("annotate", "till", "front", "a=b")
        process = subprocess.Popen(
            self.environment.command("get", "tills", "-w", "-o", "name", kubeconfig=self.lite.kubeconfig),
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual(read_lines(process.stdout, 1), ["till.shop.example/front"])
        self.kubectl("create", "-f", "-", stdin=TILL.replace("front", "back"))
        self.assertEqual(read_lines(process.stdout, 1), ["till.shop.example/back"])
        self.kubectl("delete", "till", "back")

    def test_2_an_outage_a_crash_and_a_power_cut(self) -> None:
        environment, worker = self.environment, self.environment.workers[0]
        environment.kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
        wait_until(lambda: self.ready(2), "the pods run")
        names = sorted(pod["metadata"]["name"] for pod in self.pods())
        self.kubectl("get", "nodes,tills,pods")

        environment.cluster.stop("kube-apiserver", signal.SIGKILL)
        wait_until(lambda: self.lite.state == "offline", "the outage is noticed")
        self.assertEqual(worker.running(), CONTAINERS)
        self.assertIn("front", self.kubectl("get", "tills"))
        self.assertIn(names[0], self.kubectl("get", "pods"))
        done = environment.try_kubectl("delete", "pod", names[0], kubeconfig=self.lite.kubeconfig)
        self.assertIn("the cloud is unreachable", done.stderr)

        self.lite.crash()
        self.lite.start()
        wait_until(lambda: self.lite.state == "offline", "lite-apiserver is back")
        self.assertIn("front", self.kubectl("get", "tills"))

        worker.power_off()
        self.assertEqual(worker.running(), 0)
        self.lite.crash()
        self.lite.start()
        worker.power_on()
        wait_until(lambda: worker.running() == CONTAINERS, "the pods are back without the cloud", 120)

        environment.cluster.start("kube-apiserver")
        environment.cluster.wait_until_ready()
        wait_until(lambda: self.lite.state == "online", "the cloud is back")
        environment.wait_for_node(NODE)
        wait_until(lambda: self.ready(2), "the pods are ready as the cloud sees them")
        self.assertEqual(sorted(pod["metadata"]["name"] for pod in self.pods()), names)
        environment.kubectl("scale", "deployment", "web", "--replicas=3")
        wait_until(lambda: self.ready(3), "the node takes new pods")
        environment.kubectl("delete", "deployment", "web")
        wait_until(lambda: worker.running() == 0, "and lets them go")
