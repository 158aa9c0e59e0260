"""kubectl and the Python client through lite-apiserver: online, in an outage, after a crash in it, after."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from kubernetes import client, config, dynamic, watch

from tests.faults.linked import LinkedCase
from tests.liteapiserver.differential import DEFINITION, GROUP

KUBECTL = Path(sys.executable).with_name("kubectl")
TILL = {"apiVersion": f"{GROUP}/v1", "kind": "Till", "metadata": {"name": "front"}, "spec": {"drawer": 1}}


class ClientCase(LinkedCase):
    """An administrator's kubeconfig that leads through lite-apiserver, and a resource of a made-up kind."""

    def setUp(self) -> None:
        super().setUp()
        made = self.direct.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", DEFINITION)
        self.assertEqual(made.status, 201)
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.kubeconfig = self.directory / "kubeconfig"
        self.write_kubeconfig()

    def write_kubeconfig(self) -> None:
        certificate, key = self.proxied.identity("admin", "system:masters")
        cluster = {"server": self.proxied.url, "certificate-authority": str(self.proxied.ca)}
        user = {"client-certificate": str(certificate), "client-key": str(key)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "lite",
            "clusters": [{"name": "lite", "cluster": cluster}],
            "users": [{"name": "admin", "user": user}],
            "contexts": [{"name": "lite", "context": {"cluster": "lite", "user": "admin"}}],
        }
        self.kubeconfig.write_text(json.dumps(content))

    def go_offline(self) -> None:
        self.link.cut()
        self.proxied.wait_until("offline")

    def crash(self) -> None:
        self.proxied.crash()
        self.proxied.start()
        self.proxied.wait_until("offline")

    def go_online(self) -> None:
        self.link.restore()
        self.proxied.wait_until("online")


class PythonClientTests(ClientCase):
    """The `kubernetes` package: typed, watching, dynamic."""

    def configmap(self, name: str) -> client.V1ConfigMap:
        return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name), data={"a": name})

    def listed(self, core: Any) -> list[str]:
        return [item.metadata.name for item in core.list_namespaced_config_map("default").items]

    def watched(self, core: Any) -> list[tuple[str, str]]:
        stream = watch.Watch().stream(core.list_namespaced_config_map, "default", timeout_seconds=1)
        return [(event["type"], event["object"].metadata.name) for event in stream]

    def drawer(self, api: client.ApiClient, cache: str) -> Any:
        """Through the dynamic client, which asks what there is first."""
        found = dynamic.DynamicClient(api, cache_file=str(self.directory / cache))
        tills = found.resources.get(api_version=f"{GROUP}/v1", kind="Till")
        return tills.get(name="front", namespace="default").spec.drawer

    def test_everything(self) -> None:
        api = config.new_client_from_config(str(self.kubeconfig))
        self.addCleanup(api.close)
        core = client.CoreV1Api(api)
        core.create_namespaced_config_map("default", self.configmap("one"))
        core.create_namespaced_config_map("default", self.configmap("two"))
        tills = dynamic.DynamicClient(api, cache_file=str(self.directory / "made")).resources
        tills.get(api_version=f"{GROUP}/v1", kind="Till").create(body=TILL, namespace="default")
        self.assertEqual(self.listed(core), ["one", "two"])
        events = [("ADDED", "one"), ("ADDED", "two")]
        self.assertEqual(self.watched(core), events)
        self.assertEqual(self.drawer(api, "online"), 1)

        self.go_offline()
        for cache in ("offline", "crashed"):
            self.assertEqual(self.listed(core), ["one", "two"])
            self.assertEqual(self.watched(core), events)
            self.assertEqual(self.drawer(api, cache), 1)
            self.assertEqual(core.read_namespaced_config_map("one", "default").data, {"a": "one"})
            refused = self.assertRaises(
                client.ApiException, core.create_namespaced_config_map, "default", self.configmap("three")
            )
            self.assertEqual(refused.status, 503)
            if cache == "offline":
                self.crash()

        self.go_online()
        core.create_namespaced_config_map("default", self.configmap("three"))
        self.assertEqual(self.listed(core), ["one", "three", "two"])
        self.assertEqual(self.drawer(api, "recovered"), 1)


class KubectlTests(ClientCase):
    """kubectl as people use it."""

    def command(self, *arguments: str) -> list[str]:
        options = [f"--kubeconfig={self.kubeconfig}", f"--cache-dir={self.directory}/cache"]
        return [str(KUBECTL), *options, *arguments]

    def run_kubectl(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments), input=stdin, capture_output=True, text=True, timeout=40, check=False
        )

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        done = self.run_kubectl(*arguments, stdin=stdin)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def begin(self, *arguments: str) -> IO[bytes]:
        process = subprocess.Popen(self.command(*arguments), stdout=subprocess.PIPE, bufsize=0)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process.stdout

    def line(self, stream: IO[bytes], seconds: float = 20.0) -> str:
        self.assertTrue(select.select([stream], [], [], seconds)[0], "no line in time")
        return stream.readline().decode().rstrip()

    def reads(self) -> dict[tuple[str, ...], str]:
        """What reading commands print."""
        commands = (
            ("get", "pods"),
            ("get", "pods", "-o", "wide"),
            ("get", "pod", "web-0", "-o", "yaml"),
            ("get", "all"),
            ("get", "tills", "-o", "json"),
            ("describe", "pod", "web-0"),
            ("describe", "node", "edge-1"),
            ("get", "pods", "-l", "app=web", "-o", "name"),
            ("api-resources",),
            ("version",),
        )
        return {command: self.kubectl(*command) for command in commands}

    def compare(self, online: dict[tuple[str, ...], str]) -> None:
        for command, said in self.reads().items():
            self.assertEqual(self.unaged(said), self.unaged(online[command]), command)

    def unaged(self, text: str) -> list[list[str]]:
        """Without ages, which go on."""
        return [[word for word in line.split() if not word.endswith("s")] for line in text.splitlines()]

    def test_everything(self) -> None:
        self.kubectl("apply", "-f", "-", stdin=json.dumps(TILL))
        self.assertEqual(self.kubectl("exec", "-i", "web-0", "--", "cat", stdin="said"), "said")
        self.kubectl("wait", "--for=condition=Ready", "pod/web-0", "--timeout=10s")
        following = self.begin("logs", "-f", "web-0")
        self.assertTrue(self.line(following))
        watching = self.begin("get", "pods", "--watch", "-o", "name")
        self.assertEqual([self.line(watching), self.line(watching)], ["pod/web-0", "pod/web-1"])
        online = self.reads()
        changed = {**TILL, "spec": {"drawer": 2}}

        self.go_offline()
        self.compare(online)
        self.crash()
        self.compare(online)
        self.kubectl("wait", "--for=condition=Ready", "pod/web-0", "--timeout=10s")
        again = self.begin("get", "pods", "--watch", "-o", "name")
        self.assertEqual([self.line(again), self.line(again)], ["pod/web-0", "pod/web-1"])
        for command in (("delete", "pod", "web-0"), ("logs", "web-0"), ("apply", "-f", "-")):
            done = self.run_kubectl(*command, stdin=json.dumps(changed))
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("the cloud is unreachable", done.stderr)

        self.go_online()
        self.kubectl("apply", "-f", "-", stdin=json.dumps(changed))
        self.assertIn('"drawer": 2', self.kubectl("get", "till", "front", "-o", "json"))
        self.assertTrue(self.kubectl("logs", "web-0"))
