from __future__ import annotations

import atexit
import base64
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from superedge.testing.contracts import apiserver
from superedge.testing.contracts.case import ContractServer
from superedge.tls.authority import Authority
from tests.liteapiserver.proxied import ProxiedServer

COMMAND = (sys.executable, "-m", "tests.controlplane")


class RealServer(ContractServer):
    """kube-apiserver and its etcd, until the test run ends."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="superedge-contract-"))
        atexit.register(self._stop)
        self._run("up", str(self.directory))
        state = json.loads((self.directory / "cluster.json").read_text())
        self.url = state["server"]
        pki = self.directory / "pki"
        self.ca = pki / "ca.crt"
        self.authority = Authority.load(pki)
        self._pairs: dict[str, tuple[Path, Path]] = {}
        found = re.search(
            r"--listen-client-urls=http://(\S+?:\d+)", " ".join(state["components"]["etcd"]["argv"])
        )
        assert found is not None
        self._etcd = found[1]

    def _run(self, *arguments: str) -> None:
        subprocess.run([*COMMAND, *arguments], check=True, stdout=subprocess.DEVNULL, timeout=120)

    def _stop(self) -> None:
        self._run("stop", str(self.directory))
        shutil.rmtree(self.directory, ignore_errors=True)

    def identity(self, common_name: str, organization: str) -> tuple[Path, Path]:
        if common_name not in self._pairs:
            name = f"contract-{len(self._pairs)}"
            made = self.authority.issue(common_name, [organization], directory=self.directory, name=name)
            self._pairs[common_name] = made.certificate, made.key
        return self._pairs[common_name]

    def compact(self) -> None:
        """Compact etcd, then restart the API server: its own cache remembers more than etcd does."""
        key = base64.b64encode(b"any").decode()
        revision = self._ask_etcd("/v3/kv/range", {"key": key})["header"]["revision"]
        self._ask_etcd("/v3/kv/compaction", {"revision": revision, "physical": True})
        for command in ("stop", "start"):
            self._run(command, str(self.directory), "kube-apiserver")
        admin = self.client("admin", "system:masters")
        end = time.monotonic() + 60
        while True:
            try:
                if admin.call("GET", "/readyz").status == 200:
                    return
            except OSError:  # it does not listen yet
                pass
            if time.monotonic() > end:
                raise TimeoutError("kube-apiserver is not ready within 60 s after its restart")
            time.sleep(0.1)

    def _ask_etcd(self, path: str, body: dict[str, object]) -> dict[str, dict[str, str]]:
        connection = http.client.HTTPConnection(self._etcd, timeout=10)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer: dict[str, dict[str, str]] = json.loads(connection.getresponse().read())
        connection.close()
        return answer


@cache
def proxied() -> ProxiedServer:
    """The same server, seen through lite-apiserver."""
    return ProxiedServer(shared(), shared().authority)


@cache
def shared() -> RealServer:
    """The one server of the run; each test works in a namespace of its own."""
    return RealServer()


SKIP = "set SUPEREDGE_CLUSTER_TESTS=1 to run the contract on a real control plane"


class KubeAPIServerContractTests(apiserver.APIServerContract, SynchronousTestCase):
    """The contract on a real kube-apiserver."""

    if os.environ.get("SUPEREDGE_CLUSTER_TESTS") != "1":
        skip = SKIP

    def setUp(self) -> None:
        self.server = shared()
        super().setUp()


class ProxiedContractTests(apiserver.APIServerContract, SynchronousTestCase):
    """The contract on a real kube-apiserver behind lite-apiserver."""

    if os.environ.get("SUPEREDGE_CLUSTER_TESTS") != "1":
        skip = SKIP

    def setUp(self) -> None:
        self.server = proxied()
        super().setUp()
