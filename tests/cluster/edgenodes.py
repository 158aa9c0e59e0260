"""Nodes in network namespaces: a LAN cable, and a cable to the cloud, which is this machine. Needs root."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.cluster.iproute import ip, try_ip
from tests.controlplane.build import BINARY
from tests.controlplane.worker import Worker

if TYPE_CHECKING:
    from tests.cluster.edgesites import EdgeSites

CLOUD = "10.213.0.1"
BRIDGE = "hlcloud"

EDGE = """
[log]
level = "info"
[ops]
listen = "127.0.0.1:51010"
[tunnel_edge]
servers = {servers}
certificate = "{certificate}"
key = "{key}"
ca = ["{ca}"]
reconnect_maximum = 2.0
[edge_health]
listen = "0.0.0.0:51005"
certificate = "{certificate}"
key = "{key}"
ca = ["{ca}"]
state = "{state}"
"""


class EdgeNode:
    """A namespace ``hl-NAME``: eth0 is the LAN, eth1 leads to the cloud."""

    def __init__(self, sites: EdgeSites, name: str, site: str, number: int) -> None:
        self.sites = sites
        self.name = name
        self.site = site
        self.number = number
        self.zone = site
        self.namespace = f"hl-{name}"
        self.lan_cable, self.cloud_cable = f"hl-{name}-l"[:15], f"hl-{name}-c"[:15]
        self.lan_address = f"192.168.77.{number}"
        self.home = sites.directory / name
        self.home.mkdir()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def wire(self, order: int) -> None:
        """Cables."""
        try_ip("netns", "delete", self.namespace)
        for cable in (self.lan_cable, self.cloud_cable):
            try_ip("link", "delete", cable)
        ip("netns", "add", self.namespace)
        for cable, device, address, bridge in (
            (self.lan_cable, "eth0", f"{self.lan_address}/24", self.sites.lan(self.site)),
            (self.cloud_cable, "eth1", f"10.213.1.{order}/16", BRIDGE),
        ):
            ip("link", "add", cable, "type", "veth", "peer", "name", device, "netns", self.namespace)
            ip("link", "set", cable, "master", bridge, "up")
            ip("-n", self.namespace, "address", "add", address, "dev", device)
            ip("-n", self.namespace, "link", "set", device, "up")
        ip("-n", self.namespace, "link", "set", "lo", "up")

    def spawn(self, what: str, *command: str | Path) -> None:
        argv = ["ip", "netns", "exec", self.namespace, *map(str, command)]
        with (self.home / f"{what}.log").open("ab") as log:
            environment = {**os.environ, "TMPDIR": str(self.home)}
            self.processes[what] = subprocess.Popen(argv, stdout=log, stderr=log, env=environment)

    def start_kubelet(self) -> None:
        cluster = self.sites.cluster
        identity = cluster.certificate(f"system:node:{self.name}", ["system:nodes"], [self.name])
        config = cluster.kubeconfig(identity, self.home / "kubeconfig")
        self.spawn(
            "kubelet",
            BINARY,
            "hollow-kubelet",
            f"--name={self.name}",
            f"--kubeconfig={config}",
            f"--address={self.lan_address}",
            f"--certificate={identity.certificate}",
            f"--key={identity.key}",
            f"--labels={self.labels()}",
            f"--lease={self.sites.lease}",
        )

    def start_edge(self, wrong_clock: float = 0.0) -> None:
        pki = self.sites.cluster.pki
        config = self.home / "edge.toml"
        stem = f"{pki}/system_node_{self.name}"
        config.write_text(
            EDGE.format(
                servers=[f"{CLOUD}:{end.port}" for end in self.sites.ends],
                certificate=f"{stem}.crt",
                key=f"{stem}.key",
                ca=f"{pki}/ca.crt",
                state=self.home / "state",
            )
        )
        twistd = str(Path(sys.executable).with_name("twistd"))
        # Not by the command faketime, which stays as the parent: who kills it does not kill the edge end.
        preload = ["env", "LD_PRELOAD=/usr/$LIB/faketime/libfaketime.so.1", f"FAKETIME={wrong_clock:+.0f}s"]
        clock = preload if wrong_clock else []
        self.spawn("edge", *clock, twistd, "--nodaemon", "--pidfile=", "superedge-edge", "--config", config)

    def labels(self) -> str:
        return f"superedge.io/unit={self.site},topology.kubernetes.io/zone={self.zone}"

    def start(self) -> None:
        self.start_kubelet()
        self.start_edge()

    def kill(self, what: str, sign: signal.Signals = signal.SIGKILL) -> None:
        process = self.processes.pop(what, None)
        if process is not None:
            process.send_signal(sign)
            process.wait(20)

    def die(self) -> None:
        """A power cut."""
        self.cut_cloud()
        self.cut_lan()
        for what in list(self.processes):
            self.kill(what)

    def stop(self) -> None:
        """End what runs, and the namespace."""
        for what in list(self.processes):
            self.kill(what)
        try_ip("netns", "delete", self.namespace)

    def revive(self) -> None:
        self.join_lan()
        self.join_cloud()
        self.start()

    def cut_cloud(self) -> None:
        ip("link", "set", self.cloud_cable, "down")

    def join_cloud(self) -> None:
        ip("link", "set", self.cloud_cable, "up")

    def cut_lan(self) -> None:
        ip("link", "set", self.lan_cable, "down")

    def join_lan(self) -> None:
        ip("link", "set", self.lan_cable, "up")

    def status(self) -> dict[str, Any]:
        """The edge process's status page."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.namespace, "curl", "-s", "http://127.0.0.1:51010/superedge/status"],
            capture_output=True,
            check=False,
        )
        try:
            found: dict[str, Any] = json.loads(done.stdout)["edge_health"]
        except (ValueError, KeyError):
            return {}
        return found

    def traffic(self) -> int:
        """Bytes sent so far on the LAN."""
        path = ["ip", "netns", "exec", self.namespace, "cat", "/sys/class/net/eth0/statistics/tx_bytes"]
        return int(subprocess.run(path, capture_output=True, check=True).stdout)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command in its namespace."""
        argv = ["ip", "netns", "exec", self.namespace, *command]
        return subprocess.run(argv, capture_output=True, text=True, check=False)


class RealNode(EdgeNode):
    """With a kubelet on containerd, whose pods are containers."""

    def __init__(self, sites: EdgeSites, name: str, site: str, number: int) -> None:
        super().__init__(sites, name, site, number)
        self.worker = Worker(sites.cluster, name, self.namespace, self.lan_address)

    def start_kubelet(self) -> None:
        self.worker.start(lease=self.sites.lease, labels=self.labels())

    def die(self) -> None:
        super().die()
        self.worker.power_off()

    def revive(self) -> None:
        self.join_lan()
        self.join_cloud()
        self.worker.power_on()
        self.start_edge()

    def stop(self) -> None:
        self.worker.power_off()
        super().stop()
