"""Two nodes with a VXLAN between them lose their power while the cloud is away; pods keep their addresses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import msgspec

from superedge.netsnapshot.directory import read_snapshots
from superedge.netsnapshot.facts import Facts
from superedge.netsnapshot.ipam import singlefile
from superedge.netsnapshot.ipam.store import Store
from tests.cluster.environment import Environment, EnvironmentCase, wait_until
from tests.cluster.iproute import ip, try_ip
from tests.controlplane.worker import Worker

LAN = "nssnap-lan"
CLOUD = "10.214.0.1"
PODS = "10.244.0.0/16"
EACH = 5

EDGE = """
[ops]
listen = "127.0.0.1:51010"
[kubernetes]
kubeconfig = "{home}/lite.kubeconfig"
[lite_apiserver]
listen = ["127.0.0.1:51003"]
certificate = "{pki}/apiserver.crt"
key = "{pki}/apiserver.key"
client_ca = ["{pki}/ca.crt"]
identities = ["{pki}"]
[lite_apiserver.upstream]
servers = ["{cloud}"]
ca = ["{pki}/ca.crt"]
probe_interval = 1.0
[lite_apiserver.cache]
path = "{home}/cache"
[network_snapshot]
directory = "{home}/network"
node = "{name}"
delay = 0.5
files = ["{home}/subnet.env"]
ipam = "{home}/ipam"
release_interval = 1.0
"""

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  nodeName: {node}
  automountServiceAccountToken: false
  tolerations: [{{operator: Exists}}]
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: test.local/box:1
    imagePullPolicy: Never
    command: [sh, -c, "hostname > /tmp/index.html; httpd -f -p 8080 -h /tmp"]
"""


class SnapshotNode:
    """A worker in a network namespace of its own, its edge process, and what flannel would make on it."""

    def __init__(self, environment: Environment, number: int) -> None:
        self.environment = environment
        self.number = number
        self.name = f"vx-{number}"
        self.address = f"10.214.0.1{number}"
        self.network = f"10.244.{number}"
        self.mac = f"4e:00:00:00:00:0{number}"
        self.namespace, self.cable = f"nssnap-{number}", f"nssnap-{number}-0"
        self.wire()
        environment.last.append(self.unwire)
        self.worker = Worker(environment.cluster, self.name, self.namespace, self.address)
        self.home = self.worker.home
        self.home.mkdir(parents=True)
        self.boot_id = self.home / "boot_id"
        self.edge: subprocess.Popen[bytes] | None = None
        environment.last.insert(0, self.kill_edge)
        cluster = environment.cluster
        identity = cluster.certificate(f"system:node:{self.name}", ["system:nodes"], [self.name])
        cluster.kubeconfig(identity, self.home / "lite.kubeconfig", "https://127.0.0.1:51003")
        self.config = self.home / "edge.toml"
        self.config.write_text(
            EDGE.format(home=self.home, pki=cluster.pki, name=self.name, cloud=f"{CLOUD}:{cluster.port}")
        )

    def unwire(self) -> None:
        try_ip("link", "delete", self.cable)
        try_ip("netns", "delete", self.namespace)

    def wire(self) -> None:
        self.unwire()
        ip("netns", "add", self.namespace)
        ip("link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", self.namespace)
        ip("link", "set", self.cable, "master", LAN, "up")
        self.ip("address", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            self.ip("link", "set", device, "up")

    def ip(self, *arguments: str) -> None:
        ip("-n", self.namespace, *arguments)

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """A command on the node, whose boot id is its own."""
        bind = f'mount --bind {self.boot_id} /proc/sys/kernel/random/boot_id && exec "$@"'
        argv = [*self.worker.within(), "unshare", "--mount", "sh", "-c", bind, "sh", *map(str, command)]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)

    def boot(self) -> None:
        """A boot has an id that no other has."""
        self.boot_id.write_text(f"{uuid.uuid4()}\n")

    def start_edge(self) -> None:
        bind = f'mount --bind {self.boot_id} /proc/sys/kernel/random/boot_id && exec "$@"'
        program = str(Path(sys.executable).with_name("superedge"))
        command = [program, "edge", "--config", str(self.config)]
        with (self.home / "edge.log").open("ab") as log:
            self.edge = subprocess.Popen(
                [*self.worker.within(), "unshare", "--mount", "sh", "-c", bind, "sh", *command],
                stdout=log,
                stderr=log,
            )
        wait_until(self.status, f"the edge process of {self.name} answers")

    def kill_edge(self) -> None:
        if self.edge is not None:
            self.edge.kill()
            self.edge.wait()
            self.edge = None

    def status(self) -> dict[str, Any]:
        done = self.run("curl", "-s", "http://127.0.0.1:51010/superedge/status")
        found: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
        return found

    def snapshot(self) -> dict[str, Any]:
        found: dict[str, Any] = self.status().get("network_snapshot") or {}
        return found

    def run_agent(self, *others: SnapshotNode) -> None:
        """Make what flannel makes: device, file, and an entry, a neighbour and a route for each node."""
        device = ("type", "vxlan", "id", "1", "local", self.address, "dev", "eth0", "dstport", "8472")
        self.ip("link", "add", "flannel.1", "address", self.mac, *device, "nolearning")
        self.ip("address", "add", f"{self.network}.0/32", "dev", "flannel.1")
        self.ip("link", "set", "flannel.1", "up")
        for other in others:
            entry = ("append", other.mac, "dev", "flannel.1", "dst", other.address)
            subprocess.run([*self.worker.within(), "bridge", "fdb", *entry], check=True)
            to = f"{other.network}.0"
            self.ip("neighbour", "add", to, "lladdr", other.mac, "dev", "flannel.1", "nud", "permanent")
            self.ip("route", "add", f"{to}/24", "via", to, "dev", "flannel.1", "onlink")
        (self.home / "subnet.env").write_text(
            f"FLANNEL_NETWORK={PODS}\nFLANNEL_SUBNET={self.network}.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n"
        )

    def start(self) -> None:
        self.environment.workers.append(self.worker)
        self.worker.start("https://127.0.0.1:51003")
        singlefile.install(self.home / "bin" / singlefile.NAME, singlefile.interpreter())
        self.worker.write_network(
            {
                "type": singlefile.NAME,
                "dataDir": f"{self.home}/ipam",
                "ranges": [[{"subnet": f"{self.network}.0/24"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            }
        )

    def power_off(self) -> None:
        self.kill_edge()
        self.worker.power_off()
        (self.home / "subnet.env").unlink()

    def restore(self, *options: str) -> subprocess.CompletedProcess[str]:
        program = Path(sys.executable).with_name("superedge")
        return self.run(program, "netrestore", "--config", self.config, *options)

    def devices(self) -> set[str]:
        shown = self.run("ip", "-json", "link").stdout
        return {each["ifname"] for each in json.loads(shown) if not each["ifname"].startswith("veth")}

    def fetch(self, namespace: str, address: str) -> str:
        """What a pod gets from an address; empty while there is no answer."""
        command = ["ip", "netns", "exec", namespace, "curl", "-s", "-m", "1", f"http://{address}:8080"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


class NetworkSnapshotTests(EnvironmentCase):
    """One story, in the order of the names of its parts."""

    nodes: tuple[SnapshotNode, SnapshotNode]
    before: dict[str, tuple[str, ...]]

    @classmethod
    def prepare(cls, environment: Environment) -> None:
        try_ip("link", "delete", LAN)
        ip("link", "add", LAN, "type", "bridge")
        environment.last.append(lambda: try_ip("link", "delete", LAN))
        ip("address", "add", f"{CLOUD}/24", "dev", LAN)
        ip("link", "set", LAN, "up")
        environment.cluster.host = CLOUD
        environment.cluster.up()
        environment.kubectl("create", "serviceaccount", "default")
        one, two = cls.nodes = SnapshotNode(environment, 1), SnapshotNode(environment, 2)
        for node, other in ((one, two), (two, one)):
            node.boot()
            node.run_agent(other)
            node.start_edge()
            node.start()
        for node in cls.nodes:
            environment.wait_for_node(node.name)
            spec = {"podCIDR": f"{node.network}.0/24", "podCIDRs": [f"{node.network}.0/24"]}
            environment.kubectl("patch", "node", node.name, "--patch", json.dumps({"spec": spec}))
        pods = [
            POD.format(name=f"{node.name}-{each}", node=node.name)
            for node in cls.nodes
            for each in range(EACH)
        ]
        environment.kubectl("apply", "-f", "-", stdin="---".join(pods))
        environment.kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
        cls.before = cls.addresses()

    @classmethod
    def addresses(cls) -> dict[str, tuple[str, ...]]:
        """The addresses of the pods that run."""
        return {name: found for node in cls.nodes for name, found in node.worker.pod_addresses().items()}

    def facts(self, node: SnapshotNode) -> Facts:
        """What the newest snapshot of a node has."""
        newest = read_snapshots(node.home / "network")[0].snapshot
        assert newest is not None
        return newest.facts

    def power_off(self) -> None:
        for node in self.nodes:
            node.power_off()
            node.boot()
            self.assertEqual(node.devices(), {"lo", "eth0"})
        self.assertEqual(self.addresses(), {})

    def power_on(self) -> None:
        """Start what runs on the nodes, and wait until every pod is back as it was and reaches its peer."""
        for node in self.nodes:
            node.start_edge()
            node.worker.power_on()
        for node in self.nodes:
            # A sandbox and a container for each pod.
            wait_until(lambda: node.worker.running() == 2 * EACH, f"every pod of {node.name} runs", 60)  # noqa: B023
        self.assertEqual(self.addresses(), self.before)
        self.reach()

    def reach(self) -> None:
        """Wait until every pod reaches one of the other node by the address that it had at first."""
        one, two = self.nodes
        for each in range(EACH):
            for node, other in ((one, two), (two, one)):
                pod, peer = f"{node.name}-{each}", f"{other.name}-{each}"
                (address,) = self.before[peer]

                def reaches() -> bool:
                    # A kubelet that ends while it makes a sandbox makes that one once more.
                    namespace = node.worker.pod_namespaces().get(pod)  # noqa: B023
                    return namespace is not None and node.fetch(namespace, address) == peer  # noqa: B023

                wait_until(reaches, f"{pod} reaches {peer}", 20)

    def test_pods_keep_their_addresses(self) -> None:
        environment, (one, two) = self.environment, self.nodes
        self.reach()
        for node in self.nodes:
            wait_until(lambda: len(self.facts(node).links) == 2, f"{node.name} has a snapshot", 20)  # noqa: B023
        facts = {node.name: self.facts(node) for node in self.nodes}
        uids = self.shown("metadata.uid")
        environment.cluster.stop("kube-apiserver", signal.SIGKILL)

        self.power_off()
        for node in self.nodes:
            done = node.restore()
            self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
            self.assertEqual(node.devices(), {"lo", "eth0", "cni0", "flannel.1"})
            self.assertIn(f"FLANNEL_SUBNET={node.network}.1/24", (node.home / "subnet.env").read_text())
        self.power_on()
        for node in self.nodes:
            wait_until(lambda: self.restored(node, facts), f"the network of {node.name} is as it was", 20)  # noqa: B023

        self.power_off()
        newest = read_snapshots(one.home / "network")[0].path
        newest.write_bytes(newest.read_bytes()[:-200])
        done = one.restore()
        self.assertEqual(done.returncode, 0)
        self.assertIn(f"{newest} is damaged or cut off", done.stderr)
        kept = two.home / "kept"
        (two.home / "network").rename(kept)
        done = two.restore()
        self.assertEqual((done.returncode, done.stdout), (3, ""))
        self.assertIn("nothing is restored: there is no snapshot", done.stderr)
        done = two.restore("--directory", str(one.home / "network"))
        self.assertEqual((done.returncode, two.devices()), (1, {"lo", "eth0"}))
        self.assertIn("is of the node 'vx-1', and this is 'vx-2'", done.stderr)
        two.run_agent(one)
        done = two.restore("--directory", str(kept))
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        self.power_on()

        environment.cluster.start("kube-apiserver")
        environment.cluster.wait_until_ready()
        for node in self.nodes:
            environment.wait_for_node(node.name)
        environment.kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
        self.assertEqual(self.shown("metadata.uid"), uids)
        self.assertEqual(self.shown("status.podIP"), {name: found[0] for name, found in self.before.items()})
        for node in self.nodes:
            self.assertTrue(self.restored(node, facts))
            done = node.restore("--force")
            self.assertIn("0 put back", done.stdout)
        environment.kubectl("delete", "pod", "vx-1-0", "--wait=true")
        wait_until(
            lambda: "vx-1-0" not in self.reserved(one), "the reservation of a pod that is gone ends", 30
        )
        self.assertEqual(self.reserved(one), {f"vx-1-{each}" for each in range(1, EACH)})

    def restored(self, node: SnapshotNode, facts: dict[str, Facts]) -> bool:
        """Whether the node's network is as it was at first.

        The bridge plugin fixes the bridge's MAC to that of its first port, of whichever sandbox it is.
        """

        def but_the_macs_of_bridges(found: Facts) -> Facts:
            links = (
                msgspec.structs.replace(each, address="") if each.kind == "bridge" else each
                for each in found.links
            )
            return msgspec.structs.replace(found, links=tuple(links))

        return but_the_macs_of_bridges(self.facts(node)) == but_the_macs_of_bridges(facts[node.name])

    def reserved(self, node: SnapshotNode) -> set[str]:
        """The pods that have an address."""
        return {each.pod for each in Store(f"{node.home}/ipam").reservations()}

    def shown(self, field: str) -> dict[str, str]:
        """A field of each pod, by name, as the API server has it."""
        path = f"{{range .items[*]}}{{.metadata.name}} {{.{field}}} {{end}}"
        words = self.environment.kubectl("get", "pods", "-o", f"jsonpath={path}").split()
        return dict(zip(words[::2], words[1::2], strict=True))
