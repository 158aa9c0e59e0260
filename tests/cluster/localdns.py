"""The node-local DNS server beside a real API server, asked with dig."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from ssl import create_default_context
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from superedge.testing.ports import free_port
from tests.cluster.test_apiserver_contract import SKIP, shared


class LocalDNSCase(SynchronousTestCase):
    """The server in a process, and a namespace of the API server that the tests share."""

    namespace: str
    """Of this class alone: nothing removes a namespace for good."""

    if os.environ.get("SUPEREDGE_CLUSTER_TESTS") != "1":
        skip = SKIP

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="superedge-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.server = shared()
        certificate, key = self.server.identity("local-dns-cases", "system:masters")
        self.context = create_default_context(cafile=str(self.server.ca))
        self.context.load_cert_chain(certificate, key)
        kubeconfig = {
            "clusters": [
                {
                    "name": "c",
                    "cluster": {"server": self.server.url, "certificate-authority": str(self.server.ca)},
                }
            ],
            "users": [
                {"name": "u", "user": {"client-certificate": str(certificate), "client-key": str(key)}}
            ],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        (self.directory / "kubeconfig").write_text(json.dumps(kubeconfig))
        self.port = free_port()
        (self.directory / "edge.toml").write_text(
            f"""[kubernetes]
kubeconfig = "kubeconfig"
[local_dns]
listen = ["127.0.0.1:{self.port}"]
snapshot = "dns.snapshot"
"""
        )
        self.call("POST", "/api/v1/namespaces", {"metadata": {"name": self.namespace}})
        self.addCleanup(self.call, "DELETE", f"/api/v1/namespaces/{self.namespace}")

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.server.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, context=self.context) as answer:
            return json.load(answer)

    def service(self, name: str, **spec: Any) -> Any:
        body = {"metadata": {"name": name}, "spec": spec}
        return self.call("POST", f"/api/v1/namespaces/{self.namespace}/services", body)

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "superedge.cli.main", "edge"]
        command += ["--config", str(self.directory / "edge.toml")]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def dig(self, name: str, kind: str, *options: str, port: int = 0) -> tuple[str, list[str]]:
        """The status, and the data of the answer section."""
        where = ("@127.0.0.1", "-p", str(port or self.port))
        command = ["dig", *where, "+time=1", "+tries=1", *options, name, kind]
        text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        status = text.partition("status: ")[2].partition(",")[0]
        section = text.partition("ANSWER SECTION:\n")[2].partition("\n\n")[0]
        return status, sorted(line.split(None, 4)[4] for line in section.splitlines())

    def until(self, name: str, kind: str, expected: tuple[str, list[str]]) -> None:
        found, end = self.dig(name, kind), time.monotonic() + 20
        while found != expected and time.monotonic() < end:
            time.sleep(0.05)
            found = self.dig(name, kind)
        self.assertEqual(found, expected, f"{name} {kind}")
