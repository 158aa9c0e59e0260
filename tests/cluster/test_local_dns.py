"""The node-local DNS server on a real API server's objects, asked with dig."""

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

from superedge.dns.cluster.objects import Service
from superedge.dns.snapshot import encode_snapshot, write_snapshot
from superedge.kube.reflector import Key
from tests.cluster.clibraries import build_resolvers
from tests.cluster.environment import ENABLED
from tests.cluster.test_apiserver_contract import SKIP, shared
from tests.dns.test_local_process import LocalDNSProcess
from tests.dns.test_process import free_port

NAMESPACE = "dns-cases"
SVC = f"{NAMESPACE}.svc.cluster.local"


class DigTests(SynchronousTestCase):
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
        self.call("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        self.addCleanup(self.call, "DELETE", f"/api/v1/namespaces/{NAMESPACE}")

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.server.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, context=self.context) as answer:
            return json.load(answer)

    def service(self, name: str, **spec: Any) -> Any:
        body = {"metadata": {"name": name}, "spec": spec}
        return self.call("POST", f"/api/v1/namespaces/{NAMESPACE}/services", body)

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "superedge.cli.main", "edge"]
        command += ["--config", str(self.directory / "edge.toml")]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def dig(self, name: str, kind: str, *options: str) -> tuple[str, list[str]]:
        """The status, and the data of the answer section."""
        command = ["dig", "@127.0.0.1", "-p", str(self.port), "+time=1", "+tries=1", *options, name, kind]
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

    def test_the_specification(self) -> None:
        ports = [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]
        address = self.service("web", ports=ports)["spec"]["clusterIP"]
        self.service("db", clusterIP="None", ports=ports[:1])
        self.service("out", type="ExternalName", externalName="web." + SVC)
        self.call(
            "POST",
            f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices",
            {
                "metadata": {"name": "db-1", "labels": {"kubernetes.io/service-name": "db"}},
                "addressType": "IPv4",
                "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
                "endpoints": [
                    {"addresses": ["10.1.0.1"], "hostname": "db-0", "conditions": {"ready": True}},
                    {"addresses": ["10.1.0.2"], "conditions": {"ready": False}},
                ],
            },
        )
        process = self.start()
        self.until(f"web.{SVC}", "A", ("NOERROR", [address]))
        reverse = ".".join(reversed(address.split("."))) + ".in-addr.arpa"
        cases: tuple[tuple[str, str, str, list[str]], ...] = (
            ("dns-version.cluster.local", "TXT", "NOERROR", ['"1.1.0"']),
            (f"web.{SVC}", "AAAA", "NOERROR", []),
            (f"_http._tcp.web.{SVC}", "SRV", "NOERROR", [f"0 100 80 web.{SVC}."]),
            (f"_dns._udp.web.{SVC}", "SRV", "NOERROR", [f"0 100 53 web.{SVC}."]),
            (f"_tcp.web.{SVC}", "A", "NOERROR", []),
            (reverse, "PTR", "NOERROR", [f"web.{SVC}."]),
            (f"db.{SVC}", "A", "NOERROR", ["10.1.0.1"]),
            (f"db-0.db.{SVC}", "A", "NOERROR", ["10.1.0.1"]),
            (f"_http._tcp.db.{SVC}", "SRV", "NOERROR", [f"0 100 8080 db-0.db.{SVC}."]),
            ("1.0.1.10.in-addr.arpa", "PTR", "NOERROR", [f"db-0.db.{SVC}."]),
            (f"out.{SVC}", "A", "NOERROR", sorted([address, f"web.{SVC}."])),
            (f"none.{SVC}", "A", "NXDOMAIN", []),
            ("none.svc.cluster.local", "A", "NXDOMAIN", []),
        )
        for name, kind, status, data in cases:
            for options in ((), ("+tcp",), ("+noedns",)):
                self.assertEqual(self.dig(name, kind, *options), (status, data), f"{name} {kind} {options}")
        begun = time.monotonic()
        self.call("DELETE", f"/api/v1/namespaces/{NAMESPACE}/services/web")
        self.until(f"web.{SVC}", "A", ("NXDOMAIN", []))
        self.assertLess(time.monotonic() - begun, 5.0)
        process.terminate()
        process.wait(10)
        (self.directory / "kubeconfig").write_text(
            (self.directory / "kubeconfig").read_text().replace(self.server.url, "https://127.0.0.1:1")
        )
        self.start()
        self.until(f"db-0.db.{SVC}", "A", ("NOERROR", ["10.1.0.1"]))
        self.assertEqual(self.dig(f"web.{SVC}", "A"), ("NXDOMAIN", []))


IN_A_NAMESPACE = """
ip link set lo up
mount --bind resolv.conf /etc/resolv.conf
"$@" >/dev/null 2>&1 &
server=$!
for try in $(seq 200); do getent ahosts web >/dev/null && break; sleep 0.05; done
ip -o addr | grep -c 169.254.20.10/32
cat /proc/$server/task/*/status | grep -E '^Cap(Eff|Prm|Bnd)' | sort -u
for library in *musl *glibc; do
    ./$library $library web web.prod web.prod.svc.cluster.local six none.example
done
kill $server
wait $server
ip -o addr | grep -c 169.254.20.10/32
"""
NET_ADMIN = 1 << 12


class CLibraryTests(LocalDNSProcess):
    """The C libraries' resolvers with a pod's resolv.conf; the server has its own interface, and no cloud."""

    if not ENABLED:
        skip = SKIP

    def test_search_list_and_both_families(self) -> None:
        four, six = bytes([10, 0, 0, 1]), bytes.fromhex("fd" + "0" * 29 + "1")
        services = {
            Key("prod", "web"): Service((four,)),
            Key("default", "web"): Service((bytes([10, 0, 0, 2]), six)),
            Key("default", "six"): Service((six,)),
        }
        write_snapshot(self.directory / "dns.snapshot", encode_snapshot(services, {}))
        config = self.directory / "edge.toml"
        listen = f'listen = ["127.0.0.1:{self.port}"]'
        own = 'listen = ["169.254.20.10:53"]\ninterface = "superedge-dns"'
        config.write_text(config.read_text().replace(listen, own))
        (self.directory / "resolv.conf").write_text(
            "search default.svc.cluster.local svc.cluster.local cluster.local\n"
            "nameserver 169.254.20.10\noptions ndots:5 timeout:1 attempts:2\n"
        )
        libraries = build_resolvers(self.directory)
        command = ["unshare", "--net", "--mount", "sh", "-c", IN_A_NAMESPACE, "sh", *self.command()]
        done = subprocess.run(
            command, cwd=self.directory, env=self.environment(), capture_output=True, text=True, check=False
        )
        there, *lines, gone = done.stdout.splitlines()
        self.assertEqual((there, gone), ("1", "0"), done.stderr)
        rights = [int(line.split()[1], 16) for line in lines if line.startswith("Cap")]
        self.assertFalse([each for each in rights if each & NET_ADMIN], "it has given them up")
        answers = {tuple(line.split()[:2]): sorted(line.split()[2:]) for line in lines if "resolve" in line}
        expected = {
            "web": ["10.0.0.2", "fd00::1"],
            "web.prod": ["10.0.0.1"],
            "web.prod.svc.cluster.local": ["10.0.0.1"],
            "six": ["fd00::1"],
            "none.example": [],
        }
        self.assertEqual(
            answers,
            {
                (path.name, name): addresses
                for path in libraries.values()
                for name, addresses in expected.items()
            },
            done.stderr,
        )
