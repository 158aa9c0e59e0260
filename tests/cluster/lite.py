"""A lite-apiserver process in front of an environment's cluster."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.cluster.environment import Environment, wait_until
from tests.controlplane.cluster import free_port


class LiteAPIServer:
    """It has every pair of the cluster; ``kubeconfig`` is for an administrator.

    ``servers`` is where it looks for the API server, by default where that is.
    """

    def __init__(self, environment: Environment, servers: str = "", listen: str = "127.0.0.1") -> None:
        self._environment = environment
        self.port, self._ops = free_port(), free_port()
        cluster = environment.cluster
        pki = cluster.pki
        self.url = f"https://{listen}:{self.port}"
        environment.twistd(
            "edge",
            "superedge-edge",
            f"""[ops]
listen = "127.0.0.1:{self._ops}"
[lite_apiserver]
listen = ["{listen}:{self.port}"]
certificate = "{pki}/apiserver.crt"
key = "{pki}/apiserver.key"
client_ca = ["{pki}/ca.crt"]
identities = ["{pki}"]
[lite_apiserver.upstream]
servers = ["{servers or f"127.0.0.1:{cluster.port}"}"]
server_name = "127.0.0.1"
ca = ["{pki}/ca.crt"]
probe_interval = 1.0
[lite_apiserver.cache]
path = "cache"
""",
        )
        wait_until(lambda: self.state == "online", "lite-apiserver is online")
        admin = cluster.certificate("admin", ["system:masters"])
        path = environment.directory / "lite.kubeconfig"
        self.kubeconfig: Path = cluster.kubeconfig(admin, path, self.url)

    @property
    def state(self) -> str:
        """Online or offline; empty while it does not answer."""
        return str(self._environment.status(self._ops).get("state", ""))

    def crash(self) -> None:
        """kill -9."""
        self._environment.end("edge", signal.SIGKILL)

    def start(self) -> None:
        """A new process."""
        self._environment.twistd("edge", "superedge-edge")
