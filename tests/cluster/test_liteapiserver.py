"""A real kubelet whose API server is lite-apiserver, through an outage, a crash and a power cut."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.cluster.environment import Environment, EnvironmentCase, wait_until
from tests.cluster.iproute import ip
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
        command:
        - sh
        - -c
        - while true; do echo $greeting $(cat /key/k /there/* /missing/* /none/*); sleep 1; done
        envFrom:
        - configMapRef: {name: settings}
        - secretRef: {name: never, optional: true}
        volumeMounts:
        - {name: key, mountPath: /key}
        - {name: there, mountPath: /there}
        - {name: missing, mountPath: /missing}
        - {name: none, mountPath: /none}
      volumes:
      - name: key
        secret: {secretName: key}
      - name: there
        secret: {secretName: key, optional: true}
      - name: missing
        secret: {secretName: never, optional: true}
      - name: none
        configMap: {name: never, optional: true}
"""
# What a program in a pod does with its ServiceAccount's token, and whether the cloud answered.
PROGRAM = """
import time
from kubernetes import client, config
config.load_incluster_config()
while True:
    try:
        found = client.CoreV1Api().list_namespaced_config_map_with_http_info("default", _request_timeout=5)
        names = [item.metadata.name for item in found[0].items]
        print("stale" if "Warning" in found[2] else "fresh", *names, flush=True)
    except Exception as problem:
        print("failed", repr(problem)[:300], flush=True)
    time.sleep(0.5)
"""
SERVICE = "10.96.0.1/32"
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
CONTAINERS = 6  # three pods, each with its sandbox


def python_pod(script: Path) -> str:
    """A pod that runs a script with the Python, and the packages, of these tests."""
    paths = {"/usr", "/lib", "/lib64", sys.prefix, sys.base_prefix, str(script.parent)}
    mounts = {f"host-{number}": path for number, path in enumerate(sorted(paths)) if Path(path).exists()}
    container = {
        "name": "main",
        "image": "test.local/box:1",
        "imagePullPolicy": "Never",
        "command": [sys.executable, str(script)],
        "volumeMounts": [
            {"name": name, "mountPath": path, "readOnly": True} for name, path in mounts.items()
        ],
    }
    spec = {
        "nodeName": NODE,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [{"name": name, "hostPath": {"path": path}} for name, path in mounts.items()],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client"}, "spec": spec}
    return json.dumps(pod)


class LiteAPIServerTests(EnvironmentCase):
    """Tests of one class run in the order of their names: the outage comes last."""

    lite: LiteAPIServer

    @classmethod
    def prepare(cls, environment: Environment) -> None:
        environment.cluster.up(controllers=True)
        # The Service's address leads to lite-apiserver, as kube-proxy has it by the endpoints it is shown.
        cls.remove_service()
        environment.last.append(cls.remove_service)
        ip("address", "add", SERVICE, "dev", "lo")
        cls.lite = LiteAPIServer(environment, also="10.96.0.1:443")
        environment.worker(NODE, cls.lite.url, number=6)

    @staticmethod
    def remove_service() -> None:
        command = ["ip", "address", "delete", SERVICE, "dev", "lo"]
        subprocess.run(command, capture_output=True, check=False)

    def said(self, pod: str) -> list[str]:
        """What a pod has written, as the node's disk has it."""
        files = (self.environment.workers[0].home / "logs").glob(f"default_{pod}*/main/*.log")
        lines = [line for file in files for line in file.read_text().splitlines()]
        return [line.split(" ", 3)[3] for line in sorted(lines)]

    def check_token(self, word: str) -> None:
        """That the program in the pod is answered, by the cloud (fresh) or by the cache (stale)."""
        before = len(self.said("client"))
        what = f"a {word} answer to the token from within the pod"
        wait_until(lambda: f"{word} kube-root-ca.crt settings" in self.said("client")[before + 2 :], what, 40)
        new = self.said("client")[before + 2 :]
        self.assertEqual([line for line in new if line.startswith("failed")], [])

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
        environment.kubectl(
            "create", "rolebinding", "read", "--clusterrole=view", "--serviceaccount=default:default"
        )
        script = environment.directory / "program" / "client.py"
        script.parent.mkdir()
        script.write_text(PROGRAM)
        found = ("get", "serviceaccount", "default")
        wait_until(lambda: environment.try_kubectl(*found).returncode == 0, "a service account")
        environment.kubectl("apply", "-f", "-", stdin=python_pod(script))
        wait_until(lambda: self.ready(2), "the pods run")
        self.check_token("fresh")
        names = sorted(pod["metadata"]["name"] for pod in self.pods())
        self.kubectl("get", "nodes,tills,pods")

        environment.cluster.stop("kube-apiserver", signal.SIGKILL)
        wait_until(lambda: self.lite.state == "offline", "the outage is noticed")
        self.assertEqual(worker.running(), CONTAINERS)
        self.check_token("stale")
        self.assertIn("front", self.kubectl("get", "tills"))
        self.assertIn(names[0], self.kubectl("get", "pods"))
        done = environment.try_kubectl("delete", "pod", names[0], kubeconfig=self.lite.kubeconfig)
        self.assertIn("the cloud is unreachable", done.stderr)

        self.lite.crash()
        self.lite.start()
        wait_until(lambda: self.lite.state == "offline", "lite-apiserver is back")
        self.assertIn("front", self.kubectl("get", "tills"))
        self.check_token("stale")

        worker.power_off()
        self.assertEqual(worker.running(), 0)
        self.lite.crash()
        self.lite.start()
        worker.power_on()
        before = len(self.said("web"))
        wait_until(lambda: worker.running() == CONTAINERS, "the pods are back without the cloud", 120)
        self.check_token("stale")  # with the token that lite-apiserver kept for the pod
        wait_until(lambda: "hello vv" in self.said("web")[before:], "they have what they mount")

        environment.cluster.start("kube-apiserver")
        environment.cluster.wait_until_ready()
        wait_until(lambda: self.lite.state == "online", "the cloud is back")
        environment.wait_for_node(NODE)
        wait_until(lambda: self.ready(2), "the pods are ready as the cloud sees them")
        self.assertEqual(sorted(pod["metadata"]["name"] for pod in self.pods()), names)
        environment.kubectl("scale", "deployment", "web", "--replicas=3")
        wait_until(lambda: self.ready(3), "the node takes new pods")
        self.check_token("fresh")
        environment.kubectl("delete", "deployment/web", "pod/client")
        wait_until(lambda: worker.running() == 0, "and lets them go")
