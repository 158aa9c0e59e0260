"""A real node: kubelet, containerd, runc and a CNI bridge. Needs root."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
import time
from pathlib import Path
from typing import Any

from superedge.testing.ports import free_port
from tests.controlplane.build import BINARY, CACHE
from tests.controlplane.cluster import Cluster, ClusterError, process_gone

IMAGE = "test.local/box:1"
KUBELET_STARTS = 5
APPLETS = (
    "sh",
    "ls",
    "cat",
    "echo",
    "sleep",
    "tar",
    "wget",
    "nslookup",
    "httpd",
    "ip",
    "nc",
    "hostname",
    "env",
    "date",
)

_CONTAINERD = """version = 3
root = "{home}/root"
state = "{home}/state"
[grpc]
address = "{home}/containerd.sock"
[plugins."io.containerd.cri.v1.images"]
snapshotter = "native"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{image}"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{home}/bin", "/usr/lib/cni"]
conf_dir = "{home}/net.d"
"""


def write_image(target: Path) -> None:
    """An image of a static busybox as an archive of docker's format."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add("/bin/busybox", "bin/busybox")
        for name in APPLETS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for name in ("tmp", "etc"):
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o777
            tar.addfile(directory)
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/bin/sleep", "1000000"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    ).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]
    with tarfile.open(target, "w") as tar:
        parts = {name: config, "manifest.json": json.dumps(manifest).encode(), "layer.tar": layer.getvalue()}
        for part, data in parts.items():
            info = tarfile.TarInfo(part)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


class Worker:
    """One node of a cluster, its files under ``CLUSTER/NAME``.

    It runs on this machine, or in a network namespace, whose eth0 has the node's address: there the
    kubelet listens at its usual port 10250.
    """

    def __init__(self, cluster: Cluster, name: str, namespace: str = "", address: str = "") -> None:
        self.cluster = cluster
        self.name = name
        self.namespace = namespace
        self.address = address
        self.home = cluster.directory / name
        self.bridge = "cni0" if namespace else f"cni-{name}"[:15]

    @property
    def port(self) -> int:
        """Where the kubelet listens."""
        if self.namespace:
            return 10250
        ports = self.cluster.state.setdefault("kubelet_ports", {})
        if self.name not in ports:
            ports[self.name] = free_port()
            self.cluster.save()
        return int(ports[self.name])

    def within(self) -> list[str]:
        """How a command is run in the node's network; `ip netns exec` would hide its mounts from others."""
        return ["nsenter", f"--net=/run/netns/{self.namespace}"] if self.namespace else []

    def _ctr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [
            str(CACHE / "ctr"),
            "--address",
            f"{self.home}/containerd.sock",
            "-n",
            "k8s.io",
            *arguments,
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def start(
        self,
        server: str = "",
        subnet: str = "198.18.5.0/24",
        dns: str = "169.254.20.10",
        lease: int = 40,
        labels: str = "",
    ) -> None:
        """Start containerd and the kubelet, which talks to ``server`` or else to the API server itself.

        ``lease`` is the duration of the node's Lease in seconds. Raises ClusterError.
        """
        for part in ("net.d", "static"):
            (self.home / part).mkdir(parents=True, exist_ok=True)
        (self.home / "containerd.toml").write_text(_CONTAINERD.format(home=self.home, image=IMAGE))
        self.write_network(
            {
                "type": "host-local",
                "dataDir": f"{self.home}/ipam",
                "ranges": [[{"subnet": each}] for each in subnet.split(",")],
                "routes": [{"dst": "0.0.0.0/0"}],
            }
        )
        self.cluster.spawn(
            f"{self.name}-containerd",
            *self.within(),
            CACHE / "containerd",
            "--config",
            f"{self.home}/containerd.toml",
        )
        self._import_image()
        identity = self.cluster.certificate(f"system:node:{self.name}", ["system:nodes"], [self.name])
        config = self.cluster.directory / f"{self.name}.kubeconfig"
        self.cluster.kubeconfig(identity, config, server)
        settings: dict[str, Any] = {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": f"{self.cluster.pki}/ca.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(identity.certificate),
            "tlsPrivateKeyFile": str(identity.key),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": "/",
            "failSwapOn": False,
            "failCgroupV1": False,
            "containerRuntimeEndpoint": f"unix://{self.home}/containerd.sock",
            "address": self.address or "127.0.0.1",
            "port": self.port,
            "nodeLeaseDurationSeconds": lease,
            "readOnlyPort": 0,
            "healthzPort": 0,
            "clusterDNS": [dns],
            "clusterDomain": "cluster.local",
            "podLogsDir": f"{self.home}/logs",
            "staticPodPath": f"{self.home}/static",
            "evictionHard": {"memory.available": "1Mi"},
        }
        if self.namespace:
            # A kubelet ends what it does not know below its cgroup, and this machine's others have the same.
            settings |= {"cgroupsPerQOS": False, "enforceNodeAllocatable": []}
        (self.home / "kubelet.json").write_text(json.dumps(settings))
        self.cluster.spawn(
            f"{self.name}-kubelet",
            *self.within(),
            BINARY,
            "kubelet",
            *([f"--node-ip={self.address}"] if self.address else []),
            f"--config={self.home}/kubelet.json",
            f"--kubeconfig={config}",
            f"--hostname-override={self.name}",
            f"--root-dir={self.home}/kubelet",
            f"--cert-dir={self.home}/kubelet-pki",
            *([f"--node-labels={labels}"] if labels else []),
        )

    def write_network(self, ipam: dict[str, Any], *chained: dict[str, Any]) -> None:
        """The network of its pods: a bridge with this IPAM plugin, and more plugins. containerd follows."""
        bridge = {
            "type": "bridge",
            "bridge": self.bridge,
            "isGateway": True,
            "hairpinMode": True,
            "ipam": ipam,
        }
        network = {"cniVersion": "1.0.0", "name": "edge", "plugins": [bridge, *chained]}
        (self.home / "net.d" / "10-edge.conflist").write_text(json.dumps(network))

    def _import_image(self) -> None:
        archive = self.home / "box.tar"
        write_image(archive)
        self._wait_for_containerd()
        done = self._ctr("images", "import", "--local", "--snapshotter", "native", str(archive))
        if done.returncode:
            raise ClusterError(f"the image cannot be imported: {done.stderr}")

    def _wait_for_containerd(self) -> None:
        end = time.monotonic() + 20
        while self._ctr("version").returncode:
            if time.monotonic() > end:
                raise ClusterError(f"containerd does not answer; see {self.name}-containerd.log")
            time.sleep(0.1)

    def running(self) -> int:
        """How many containers run, pods' sandboxes included."""
        return self._ctr("task", "ls").stdout.count("RUNNING")

    def pod_namespaces(self) -> dict[str, str]:
        """The network namespace of each running pod, by the pod's name."""
        found = {}
        for container in self._ctr("container", "ls", "-q").stdout.split():
            info = self._ctr("container", "info", container)
            about = json.loads(info.stdout) if info.returncode == 0 else {}
            if about.get("Labels", {}).get("io.cri-containerd.kind") == "sandbox":
                namespaces = about["Spec"]["linux"]["namespaces"]
                path = next(each["path"] for each in namespaces if each["type"] == "network")
                if Path(path).exists():  # not one from before a power cut
                    found[about["Labels"]["io.kubernetes.pod.name"]] = path.rpartition("/")[2]
        return found

    def pod_addresses(self) -> dict[str, tuple[str, ...]]:
        """The addresses on eth0 of each running pod, by its name, as its network namespace has them."""
        found = {}
        for pod, namespace in self.pod_namespaces().items():
            command = ["ip", "-netns", namespace, "-json", "address", "show", "dev", "eth0"]
            shown = subprocess.run([*command, "scope", "global"], capture_output=True, text=True, check=False)
            if shown.returncode == 0:
                each = json.loads(shown.stdout)[0]["addr_info"]
                found[pod] = tuple(sorted(address["local"] for address in each if address))
        return found

    def power_off(self) -> None:
        """What a power cut takes: processes, containers, network devices, mounts. Disks stay."""
        self.cluster.stop(f"{self.name}-kubelet")
        namespaces = set()
        for task in self._ctr("task", "ls", "-q").stdout.split():
            found = re.findall(r"/netns/(cni-[-0-9a-f]+)", self._ctr("container", "info", task).stdout)
            namespaces.update(found)
            self._ctr("task", "delete", "--force", task)
        self.cluster.stop(f"{self.name}-containerd")
        for namespace in namespaces:
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)
        for device in self._devices() if self.namespace else [self.bridge]:
            subprocess.run([*self.within(), "ip", "link", "delete", device], capture_output=True, check=False)
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in sorted((each for each in mounts if each.startswith(f"{self.home}/")), reverse=True):
            subprocess.run(["umount", "-l", mount], capture_output=True, check=False)
        shutil.rmtree(self.home / "state", ignore_errors=True)

    def _devices(self) -> list[str]:
        """What a power cut takes of the network: all but the cables."""
        shown = subprocess.run(
            [*self.within(), "ip", "-json", "link"], capture_output=True, check=True
        ).stdout
        names = [each["ifname"] for each in json.loads(shown)]
        return [name for name in names if name != "lo" and not name.startswith("eth")]

    def power_on(self) -> None:
        """Start containerd and kubelet again. Raises ClusterError."""
        self.cluster.start(f"{self.name}-containerd")
        self._wait_for_containerd()
        kubelet = f"{self.name}-kubelet"
        # containerd's CRI may come a moment later: a kubelet that finds none exits, and init starts it again.
        for _ in range(KUBELET_STARTS):
            self.cluster.start(kubelet)
            if not process_gone(self.cluster.state["components"][kubelet]["pid"], 3.0):
                return
        raise ClusterError(f"{kubelet} does not stay; see {kubelet}.log")
