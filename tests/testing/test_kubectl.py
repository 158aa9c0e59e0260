from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from twisted.trial.unittest import SynchronousTestCase

from tests.testing.server import shared

KUBECTL = Path(sys.executable).with_name("kubectl")
MANIFEST = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web"},
    "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "main", "image": "test.local/box:1"}]},
        },
    },
}


class KubectlCase(SynchronousTestCase):
    """Runs kubectl on the shared embedded cluster, in a namespace of the class."""

    namespace = "default"

    def command(self, *arguments: str) -> list[str]:
        cache = shared().directory / "kubectl-cache"
        options = [f"--kubeconfig={shared().kubeconfig}", f"--cache-dir={cache}"]
        return [str(KUBECTL), *options, f"--namespace={self.namespace}", *arguments]

    def run_kubectl(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.command(*arguments), input=stdin, capture_output=True, timeout=20, check=False
        )

    def kubectl(self, *arguments: str, stdin: bytes = b"") -> str:
        done = self.run_kubectl(*arguments, stdin=stdin)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return done.stdout.decode()

    def begin(self, *arguments: str) -> IO[bytes]:
        """Start a command that goes on; its output."""
        process = subprocess.Popen(self.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait, 10)
        self.addCleanup(process.kill)
        return process.stdout

    def line(self, output: IO[bytes]) -> str:
        """The next line, within a minute."""
        found, end = b"", time.monotonic() + 60
        while not found.endswith(b"\n"):
            ready, _, _ = select.select([output], [], [], max(end - time.monotonic(), 0))
            self.assertTrue(ready, f"no line in time, only {found!r}")
            piece = os.read(output.fileno(), 1)
            self.assertTrue(piece, f"the output ended after {found!r}")
            found += piece
        return found.decode()


class ObjectsTests(KubectlCase):
    namespace = "kubectl"

    def setUp(self) -> None:
        if self.run_kubectl("get", "namespace", self.namespace).returncode:
            self.kubectl("create", "namespace", self.namespace)

    def test_apply_patch_and_delete(self) -> None:
        manifest = json.dumps(MANIFEST).encode()
        self.assertEqual(self.kubectl("apply", "-f", "-", stdin=manifest), "deployment.apps/web created\n")
        self.assertEqual(self.kubectl("apply", "-f", "-", stdin=manifest), "deployment.apps/web unchanged\n")
        changed = manifest.replace(b'"replicas": 1', b'"replicas": 3')
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=changed)
        patch = '{"spec":{"template":{"spec":{"containers":[{"name":"main","image":"test.local/box:2"}]}}}}'
        self.kubectl("patch", "deployment", "web", "--patch", patch)
        found = json.loads(self.kubectl("get", "deployment", "web", "-o", "json"))
        self.assertEqual(found["spec"]["replicas"], 3)
        (container,) = found["spec"]["template"]["spec"]["containers"]
        self.assertEqual((container["name"], container["image"]), ("main", "test.local/box:2"))
        self.assertRegex(self.kubectl("get", "deploy"), r"NAME +READY +UP-TO-DATE +AVAILABLE +AGE\nweb +0/3 ")
        self.kubectl("delete", "deployment", "web")
        self.assertIn("NotFound", self.run_kubectl("get", "deploy", "web").stderr.decode())

    def test_create_sends_protobuf(self) -> None:
        self.kubectl("create", "configmap", "x", "--from-literal=a=b", "--from-literal=c=d")
        data = self.kubectl("get", "configmap", "x", "-o", "jsonpath={.data}")
        self.assertEqual(json.loads(data), {"a": "b", "c": "d"})
        refused = self.run_kubectl("create", "deployment", "y", "--image=z").stderr.decode()
        self.assertIn("Deployment is not among the kinds that are decoded", refused)

    def test_watch(self) -> None:
        output = self.begin("get", "configmaps", "--watch", "-l", "watched=yes", "-o", "name")
        for name in ("one", "two"):
            # The watch may begin after the first is there: it is listed then.
            body = {
                "kind": "ConfigMap",
                "apiVersion": "v1",
                "metadata": {"name": name, "labels": {"watched": "yes"}},
            }
            self.kubectl("create", "-f", "-", stdin=json.dumps(body).encode())
            self.assertEqual(self.line(output), f"configmap/{name}\n")


class NodesAndPodsTests(KubectlCase):
    def test_get(self) -> None:
        self.assertRegex(self.kubectl("get", "nodes"), r"edge-1 +Ready +<none> +[\dm]+s +v1\.37\.0\n")
        self.assertRegex(self.kubectl("get", "pods", "-o", "wide"), r"web-0 +1/1 +Running .* edge-1 ")

    def test_describe(self) -> None:
        text = self.kubectl("describe", "pod", "web-0")
        self.assertRegex(text, r"Name: +web-0\n")
        self.assertRegex(text, r"Ready: +True\n")

    def test_wait(self) -> None:
        done = self.kubectl("wait", "--for=condition=Ready", "pod/web-0", "--timeout=5s")
        self.assertEqual(done, "pod/web-0 condition met\n")

    def test_logs(self) -> None:
        self.assertEqual(self.kubectl("logs", "web-1"), "hello from web-1 on edge-2\n")
        problem = self.run_kubectl("logs", "web-1", "--container=none").stderr.decode()
        self.assertIn("container none is not valid for pod web-1", problem)

    def test_logs_follow(self) -> None:
        output = self.begin("logs", "--follow", "web-0")
        self.assertEqual([self.line(output) for _ in range(2)], ["hello from web-0 on edge-1\n"] * 2)

    def test_exec(self) -> None:
        self.assertEqual(self.kubectl("exec", "web-0", "--", "echo", "hi", "there"), "hi there\n")
        failed = self.run_kubectl("exec", "web-0", "--", "reboot")
        self.assertEqual(failed.returncode, 127)
        self.assertIn(b"reboot: not found", failed.stderr)

    def test_exec_stdin(self) -> None:
        data = bytes(range(256)) * 4096
        done = self.run_kubectl("exec", "--stdin", "web-0", "--", "cat", stdin=data)
        self.assertEqual((done.returncode, done.stdout == data), (0, True), done.stderr)

    def test_node_proxy(self) -> None:
        pods = json.loads(self.kubectl("get", "--raw", "/api/v1/nodes/edge-1/proxy/pods"))
        self.assertEqual([pod["metadata"]["name"] for pod in pods["items"]], ["web-0"])
