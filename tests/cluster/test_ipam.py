"""Pods keep their addresses: on a real node through a power cut without the cloud, and with main plugins."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from superedge.netsnapshot.ipam import singlefile
from superedge.netsnapshot.ipam.store import Store
from superedge.netsnapshot.ipam.verification import problems
from tests.cluster.environment import SKIP, Environment, EnvironmentCase, wait_until
from tests.cluster.lite import LiteAPIServer
from tests.controlplane.worker import Worker
from tests.netsnapshot.ipam.calls import PluginCase

NODE = "till-1"
SUBNETS = ("198.18.7.0/24", "fd00:7::/64")
GATEWAY = "198.18.7.1"
HOST_PORT = 18087
PORTS = {"type": "portmap", "capabilities": {"portMappings": True}}
_POD = {
    "tolerations": [{"operator": "Exists"}],
    "terminationGracePeriodSeconds": 1,
    "containers": [
        {
            "name": "main",
            "image": "test.local/box:1",
            "imagePullPolicy": "Never",
            "command": ["sh", "-c", "hostname > /tmp/index.html; httpd -f -p 8080 -h /tmp"],
        }
    ],
}


def workload(kind: str, name: str, replicas: int) -> dict[str, Any]:
    """A Deployment or StatefulSet whose pods serve their name over HTTP."""
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": _POD}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    if kind == "StatefulSet":
        spec |= {"serviceName": name, "podManagementPolicy": "Parallel"}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def published() -> dict[str, Any]:
    """A pod whose port the node publishes."""
    spec = json.loads(json.dumps(_POD))
    spec["nodeName"] = NODE
    spec["containers"][0]["ports"] = [{"containerPort": 8080, "hostPort": HOST_PORT}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shop"}, "spec": spec}


def fetch(address: str, port: int = 8080) -> str:
    """What a pod says of itself, or what went wrong."""
    host = f"[{address}]" if ":" in address else address
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/", timeout=2) as answer:
            return str(answer.read().decode().strip())
    except OSError as problem:
        return repr(problem)


def forget_host_port() -> None:
    """Delete the rules for it, as a power cut does."""

    def nat(*arguments: str) -> str:
        command = ["iptables", "-w", "-t", "nat", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    rules = [line.split() for line in nat("-S").splitlines()]
    chains = {rule[1] for rule in rules if "DNAT" in rule and str(HOST_PORT) in rule}
    for rule in rules:
        if rule[0] == "-A" and rule[-1] in chains:
            nat("-D", *shlex.split(" ".join(rule[1:])))
    for chain in chains:
        nat("-F", chain)
        nat("-X", chain)


class NodeTests(EnvironmentCase):
    """Tests of one class run in the order of their names; they are one story."""

    lite: LiteAPIServer
    worker: Worker
    before: dict[str, tuple[str, ...]] = {}

    @classmethod
    def prepare(cls, environment: Environment) -> None:
        forget_host_port()
        environment.last.append(forget_host_port)
        environment.cluster.up(controllers=True)
        cls.lite = LiteAPIServer(environment)
        cls.worker = Worker(environment.cluster, NODE)
        environment.workers.append(cls.worker)
        cls.worker.start(cls.lite.url, subnet=",".join(SUBNETS))
        singlefile.install(cls.worker.home / "bin" / singlefile.NAME, singlefile.interpreter())
        environment.wait_for_node(NODE)
        cls.serve_with("host-local")

    @classmethod
    def serve_with(cls, plugin: str) -> None:
        """Change the IPAM plugin, and nothing else."""
        addresses: dict[str, Any] = {
            "type": plugin,
            "dataDir": f"{cls.worker.home}/ipam",
            "ranges": [[{"subnet": each}] for each in SUBNETS],
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        if plugin == singlefile.NAME:
            addresses["keepByName"] = True
        cls.worker.write_network(addresses, PORTS)

    def pods(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.environment.kubectl("get", "pods", "-o", "json"))[
            "items"
        ]
        return found

    def wait_for_pods(self, count: int, kubectl_sees: bool = True) -> dict[str, tuple[str, ...]]:
        """The addresses of that many running pods, each of its own and of both families."""

        def ready() -> bool:
            conditions = [
                condition["status"]
                for pod in self.pods()
                if "deletionTimestamp" not in pod["metadata"]
                for condition in pod.get("status", {}).get("conditions", [])
                if condition["type"] == "Ready"
            ]
            return conditions == ["True"] * count

        if kubectl_sees:
            wait_until(ready, f"{count} pods are ready", 90)

        def running() -> dict[str, tuple[str, ...]] | None:
            found = self.worker.pod_addresses()
            return found if len(found) == count else None

        found: dict[str, tuple[str, ...]] = wait_until(running, f"{count} pods run", 90)
        every = [address for addresses in found.values() for address in addresses]
        self.assertEqual(len(set(every)), 2 * count, found)
        return found

    def attached(self) -> dict[str, tuple[str, ...]]:
        """What the plugin has on record as attached."""
        records = Store(f"{self.worker.home}/ipam").reservations("edge")
        return {each.pod: tuple(sorted(each.addresses)) for each in records if each.state == "attached"}

    def test_1_a_node_that_ran_host_local_goes_over_without_a_restart(self) -> None:
        kubectl = self.environment.kubectl
        account = ("get", "serviceaccount", "default")
        wait_until(lambda: self.environment.try_kubectl(*account).returncode == 0, "a service account")
        for each in (workload("Deployment", "web", 5), workload("StatefulSet", "db", 3), published()):
            kubectl("apply", "-f", "-", stdin=json.dumps(each))
        old = self.wait_for_pods(9)
        sandboxes = {file.read_bytes() for file in Path(self.worker.home, "ipam", "edge").glob("198.*")}
        self.serve_with(singlefile.NAME)
        kubectl("scale", "deployment", "web", "--replicas=6")
        now = self.wait_for_pods(10)
        self.assertEqual({name: now[name] for name in old}, old)
        self.assertEqual(self.attached(), now)
        files = {file.read_bytes() for file in Path(self.worker.home, "ipam", "edge").glob("198.*")}
        self.assertEqual(len(files), 10)
        self.assertTrue(sandboxes < files)
        restarts = [
            status["restartCount"] for pod in self.pods() for status in pod["status"]["containerStatuses"]
        ]
        self.assertEqual(restarts, [0] * 10)
        type(self).before = now

    def test_2_a_power_cut_without_the_cloud_changes_no_address(self) -> None:
        environment, worker = self.environment, self.worker
        uids = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in self.pods()}
        environment.cluster.stop("kube-apiserver", signal.SIGKILL)
        wait_until(lambda: self.lite.state == "offline", "the outage is noticed")
        worker.power_off()
        forget_host_port()
        self.assertEqual(worker.pod_addresses(), {})
        self.lite.crash()
        self.lite.start()
        worker.power_on()
        now = self.wait_for_pods(10, kubectl_sees=False)
        self.assertEqual(now, self.before)
        for name, (address, other) in now.items():
            wait_until(lambda: fetch(address) == name, f"{name} answers at {address}", 20)  # noqa: B023
            self.assertEqual(fetch(other), name)
        self.assertEqual(fetch(GATEWAY, HOST_PORT), "shop")

        environment.cluster.start("kube-apiserver")
        environment.cluster.wait_until_ready()
        # Controllers wait up to a minute before they ask again after an outage.
        for name in ("kube-controller-manager", "kube-scheduler"):
            environment.cluster.stop(name)
            environment.cluster.start(name)
        wait_until(lambda: self.lite.state == "online", "the cloud is back")
        environment.wait_for_node(NODE)
        self.assertEqual(self.wait_for_pods(10), self.before)
        self.assertEqual({pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in self.pods()}, uids)
        shown = {pod["metadata"]["name"]: {ip["ip"] for ip in pod["status"]["podIPs"]} for pod in self.pods()}
        self.assertEqual(shown, {name: set(addresses) for name, addresses in self.before.items()})

    def test_3_a_pod_made_anew_under_its_name_keeps_its_address(self) -> None:
        kubectl = self.environment.kubectl
        kubectl("delete", "pod", "db-1", "--wait=true")
        kubectl("scale", "deployment", "web", "--replicas=7")
        now = self.wait_for_pods(11)
        self.assertEqual({name: now[name] for name in self.before}, self.before)
        type(self).before = now

    def test_4_the_node_goes_back_to_host_local_without_a_restart(self) -> None:
        kubectl = self.environment.kubectl
        self.serve_with("host-local")
        kubectl("scale", "deployment", "web", "--replicas=8")
        now = self.wait_for_pods(12)
        self.assertEqual({name: now[name] for name in self.before}, self.before)
        kubectl("delete", "statefulset", "db")
        self.wait_for_pods(9)
        directory = Path(self.worker.home, "ipam", "edge")

        def files() -> int:
            return len([*directory.glob("198.*"), *directory.glob("fd00*")])

        wait_until(lambda: files() == 18, "host-local frees what superedge-ipam allocated", 30)


class MainPluginTests(SynchronousTestCase):
    """The plugins that make interfaces, each with this one for the addresses."""

    skip = SKIP
    namespace = f"ipam-{os.getpid()}"
    parent = f"ipam{os.getpid()}"[:15]

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()
        singlefile.install(self.directory / singlefile.NAME, singlefile.interpreter())
        self.addCleanup(self.ip_anyway, "netns", "delete", self.namespace)

    def ip_anyway(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)

    def call(self, command: str, container: str, configuration: dict[str, Any], netns: bool = True) -> str:
        """Call a main plugin as a container runtime does. Raises AssertionError when it fails."""
        environment = {
            "PATH": os.environ["PATH"],
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": f"/run/netns/{self.namespace}" if netns else "",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": f"{self.directory}:/usr/lib/cni",
            "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=db-0;K8S_POD_UID=u-0",
        }
        done = subprocess.run(
            [f"/usr/lib/cni/{configuration['type']}"],
            input=json.dumps(configuration),
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def check(self, main: dict[str, Any], families: tuple[str, ...], version: str = "1.0.0") -> None:
        """The address stays when a power cut takes the namespace, and DEL comes without one."""
        subnets = {"4": "198.18.9.0/24", "6": "fd00:9::/64"}
        configuration = {
            "cniVersion": version,
            "name": f"net{''.join(families)}",
            **main,
            "ipam": {
                "type": singlefile.NAME,
                "dataDir": str(self.directory / "data"),
                "ranges": [[{"subnet": subnets[each]}] for each in families],
            },
        }
        seen = []
        for container in ("first", "second"):
            self.assertEqual(self.ip_anyway("netns", "add", self.namespace).returncode, 0)
            result = json.loads(self.call("ADD", container, configuration))
            shown = self.ip_anyway("-n", self.namespace, "-json", "address", "show", "dev", "eth0")
            kernel = [
                each["local"]
                for each in json.loads(shown.stdout)[0]["addr_info"]
                if each["scope"] == "global"
            ]
            self.assertEqual([each["address"].partition("/")[0] for each in result["ips"]], kernel)
            self.call("CHECK", container, configuration | {"prevResult": result})
            seen.append(kernel)
            self.ip_anyway("netns", "delete", self.namespace)
            self.call("DEL", container, configuration, netns=False)
        self.assertEqual(len(seen[0]), len(families))
        self.assertEqual(seen[0], seen[1])

    def test_bridge(self) -> None:
        bridge = {"type": "bridge", "bridge": self.parent, "isGateway": True}
        self.addCleanup(self.ip_anyway, "link", "delete", self.parent)
        for families in (("4",), ("6",), ("4", "6")):
            self.check(bridge, families)
        self.check(bridge, ("4",), "0.4.0")

    def test_ptp(self) -> None:
        for families in (("4",), ("4", "6")):
            self.check({"type": "ptp"}, families)

    def test_macvlan(self) -> None:
        self.ip_anyway("link", "add", self.parent, "type", "veth", "peer", "name", f"{self.parent}p"[-15:])
        self.addCleanup(self.ip_anyway, "link", "delete", self.parent)
        made = self.ip_anyway("link", "add", "link", self.parent, "name", "ipamprobe", "type", "macvlan")
        if made.returncode:
            raise SkipTest(f"this kernel has no macvlan: {made.stderr.strip()}")
        self.ip_anyway("link", "delete", "ipamprobe")
        self.ip_anyway("link", "set", self.parent, "up")
        for families in (("4",), ("4", "6")):
            self.check({"type": "macvlan", "master": self.parent}, families)


class FileSystemTests(PluginCase):
    """A file system of its own, without a free block, or read-only."""

    skip = SKIP

    def setUp(self) -> None:
        super().setUp()
        mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(self.directory)]
        subprocess.run(mount, check=True)
        self.addCleanup(subprocess.run, ["umount", str(self.directory)], check=True)

    def fill(self) -> Path:
        """Use up all blocks."""
        filler = self.directory / "filler"
        with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        return filler

    def test_on_a_full_disk_add_changes_nothing_and_del_works(self) -> None:
        for number in range(3):
            self.add(f"c{number}", f"p{number}")
        filler = self.fill()
        code, answer = self.attempt("ADD", "c3", "p3")
        self.assertEqual((code, answer["code"]), (1, 5))
        self.assertIn("No space left on device", answer["msg"])
        self.fault(50, f"{self.files} is on a file system without free space", "STATUS")
        self.call("DEL", "c1", "p1")
        found = {each.pod: each.state for each in self.store.reservations()}
        self.assertEqual(found, {"p0": "attached", "p1": "reserved", "p2": "attached"})
        filler.unlink()
        self.assertEqual(self.add("c4", "p4"), "10.1.0.5")
        self.assertEqual(self.add("c5", "p1"), "10.1.0.3")
        with self.store.open("edge") as file:
            self.assertEqual((file.damage(), problems(file.table, file.files, [])), ([], []))

    def test_read_only(self) -> None:
        self.add("c1", "p1")
        subprocess.run(["mount", "-o", "remount,ro", str(self.directory)], check=True)
        text = f"{self.files}/lock: Read-only file system"
        self.fault(50, text, "STATUS")
        for command in ("ADD", "DEL", "CHECK"):
            self.fault(5, text, command, "c1")
        subprocess.run(["mount", "-o", "remount,rw", str(self.directory)], check=True)
        self.assertEqual(self.add("c2", "p1"), "10.1.0.2")
