"""The node-local DNS server on a real API server's objects, asked with dig and by the C libraries."""

from __future__ import annotations

import subprocess
import time

from superedge.dns.cluster.objects import Service
from superedge.dns.snapshot import encode_snapshot, write_snapshot
from superedge.kube.reflector import Key
from tests.cluster.clibraries import build_resolvers
from tests.cluster.environment import ENABLED
from tests.cluster.localdns import LocalDNSCase
from tests.cluster.test_apiserver_contract import SKIP
from tests.dns.test_local_process import LocalDNSProcess

NAMESPACE = "dns-cases"
SVC = f"{NAMESPACE}.svc.cluster.local"


class DigTests(LocalDNSCase):
    namespace = NAMESPACE

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
