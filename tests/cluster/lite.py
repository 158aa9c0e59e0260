"""A lite-apiserver process in front of an environment's cluster."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from superedge.testing.ports import free_port
from tests.cluster.environment import Environment, wait_until

NAME = "lite"


class LiteAPIServer:
    """It has every pair of the cluster; ``kubeconfig`` is for ``admin``, an administrator.

    ``also`` is one more address that it listens on, ``advertise`` has the Service kubernetes lead to it,
    ``store`` is its cache's, ``upstream`` a port that leads to the API server, when it is not that one's own,
    ``verify_tokens`` whether signatures count offline, ``settings`` are further lines of its own table, and
    ``more`` further tables of its configuration.
    """

    def __init__(
        self,
        environment: Environment,
        listen: str = "127.0.0.1",
        also: str = "",
        advertise: bool = False,
        http2: str = "watches",
        store: str = "file",
        upstream: int = 0,
        verify_tokens: bool = True,
        settings: str = "",
        more: str = "",
    ) -> None:
        self._environment = environment
        self.port, self._ops = free_port(), free_port()
        cluster = environment.cluster
        pki = cluster.pki
        self.admin = cluster.certificate("admin", ["system:masters"])
        self.url = f"https://{listen}:{self.port}"
        way = f"127.0.0.1:{upstream}" if upstream else f"{cluster.host}:{cluster.port}"
        addresses = [f"{listen}:{self.port}", *([also] if also else [])]
        environment.twistd(
            NAME,
            "superedge-edge",
            f"""[ops]
listen = "127.0.0.1:{self._ops}"
[lite_apiserver]
listen = {json.dumps(addresses)}
verify_tokens = {json.dumps(verify_tokens)}
advertise = "{f"{listen}:{self.port}" if advertise else ""}"
certificate = "{pki}/apiserver.crt"
key = "{pki}/apiserver.key"
client_ca = ["{pki}/ca.crt"]
identities = ["{pki}"]
{settings}
[lite_apiserver.upstream]
servers = ["{way}"]
ca = ["{pki}/ca.crt"]
http2 = "{http2}"
probe_interval = 1.0
[lite_apiserver.cache]
store = "{store}"
path = "lite-cache"
{more}""",
        )
        wait_until(lambda: self.state == "online", "lite-apiserver is online")
        path = environment.directory / "lite.kubeconfig"
        self.kubeconfig: Path = cluster.kubeconfig(self.admin, path, self.url)

    @property
    def status(self) -> dict[str, Any]:
        """Its part of the status page; empty while it does not answer."""
        return self._environment.status(self._ops)

    @property
    def state(self) -> str:
        """Online or offline; empty while it does not answer."""
        return str(self.status.get("state", ""))

    @property
    def process(self) -> int:
        """The process that runs now."""
        return self._environment.processes[NAME].pid

    def crash(self) -> None:
        """kill -9."""
        self._environment.end(NAME, signal.SIGKILL)

    def start(self) -> None:
        """A new process."""
        self._environment.twistd(NAME, "superedge-edge")
