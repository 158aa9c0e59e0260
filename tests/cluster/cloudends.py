"""A cloud end as a process on this machine."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from superedge.testing.ports import free_port
from tests.cluster.edgenodes import CLOUD

CLOUD_END = """
[ops]
listen = "127.0.0.1:{ops}"
[kubernetes]
kubeconfig = "{kubeconfig}"
[tunnel_cloud]
listen = "{cloud}:{port}"
certificate = "{pki}/cloud.crt"
key = "{pki}/cloud.key"
ca = ["{pki}/ca.crt"]
drain_timeout = 1.0
{replicas}
[edge_admission]
unit_label = "superedge.io/unit"
ca = ["{pki}/ca.crt"]
{admission}
"""

REPLICAS = """
registry = "kubernetes"
[tunnel_cloud.replicas]
name = "{name}"
listen = "{cloud}:{peer}"
advertise = "{cloud}:{peer}"
ca = ["{pki}/ca.crt"]
names = ["superedge-cloud"]
drain_delay = 0.5
"""


class CloudEnd:
    """One replica: its ports and its process."""

    def __init__(self, name: str, directory: Path) -> None:
        """Its configuration and its log are in ``directory``."""
        self.name = name
        self.directory = directory
        self.port, self.ops, self.peer = free_port(), free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, pki: Path, kubeconfig: Path, admission: str, alone: bool) -> None:
        """``admission`` goes into its table edge_admission; ``alone``: there are no other replicas."""
        config = self.directory / f"{self.name}.toml"
        replicas = REPLICAS.format(name=self.name, cloud=CLOUD, peer=self.peer, pki=pki)
        config.write_text(
            CLOUD_END.format(
                ops=self.ops,
                kubeconfig=kubeconfig,
                cloud=CLOUD,
                port=self.port,
                pki=pki,
                admission=admission,
                replicas="" if alone else replicas,
            )
        )
        twistd = str(Path(sys.executable).with_name("twistd"))
        with (self.directory / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [twistd, "--nodaemon", "--pidfile=", "superedge-cloud", "--config", str(config)],
                stdout=log,
                stderr=log,
            )

    def stop(self, sign: signal.Signals) -> None:
        """End it, if it runs."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(sign)
            process.wait(30)

    def page(self, path: str) -> bytes:
        """A page of its ops port."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ops}{path}", timeout=3) as answer:
            found: bytes = answer.read()
            return found

    def status(self) -> dict[str, Any]:
        """What it says of edge health; empty while it does not answer."""
        try:
            found: dict[str, Any] = json.loads(self.page("/superedge/status"))["edge_admission"]
        except (OSError, KeyError, ValueError):
            return {}
        return found
