"""The same questions at CoreDNS with its kubernetes plugin."""

from __future__ import annotations

import itertools
import re
import shutil
import socket
import subprocess
import time
from typing import Any

import dnslib
from dnslib import DNSRecord

from superedge.testing.ports import free_port
from tests.cluster.clients import install
from tests.cluster.localdns import LocalDNSCase

NAMESPACE = "dns-peer"
SVC = f"{NAMESPACE}.svc.cluster.local"
TYPES = ("A", "AAAA", "SRV", "TXT", "PTR", "CNAME")
NO_ADDRESS = ("AAAA", "SRV", "TXT", "PTR", "CNAME")
# Where the answers differ: the name, the types, and what CoreDNS does that the specification does not say.
STRICT = (
    (r"(web|WEB|db|early|db-0\.db)\.NS\.svc", ("SRV",), "SRV records at names that have no port in them"),
    (r"(_http\._tcp\.)?early\.NS\.svc", ("A", "SRV"), "publishNotReadyAddresses is left to the controller"),
    (r"inside\.NS\.svc", NO_ADDRESS, "a CNAME that is lost for types that its target does not have"),
    (r"outside\.NS\.svc", NO_ADDRESS, "the same"),
    (r"_\w+\._\w+\.(web|db|early)\.NS\.svc", ("A",), "addresses at SRV names"),
    (r"_tcp\.(web|db)\.NS\.svc", TYPES, "NXDOMAIN for a name that has others below it"),
    (r"10-2-0-9\.web\.NS\.svc", TYPES, "names of endpoints of a Service that is not headless"),
    (r"(NS\.svc|svc|cluster|pod|NS\.pod)", ("TXT",), "NXDOMAIN for TXT at names that exist"),
    (r"[^.]+\.NS\.pod", ("SRV",), "SRV records of pods, for port 0"),
    (r"10-2-0-1\.none\.pod", TYPES, "it reads namespaces, and this server reads Services alone"),
    (r"dns-version", NO_ADDRESS + ("A",), "NXDOMAIN for a name that has a TXT record"),
    (r"ns\.dns", TYPES, "its own address is that of a Service"),
    (r"\S+\.arpa", ("A", *NO_ADDRESS), "NXDOMAIN for a name that has a PTR record"),
)

COREFILE = """.:{port} {{
    bind 127.0.0.1
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        ttl 5
    }}
}}
"""


class CoreDNSTests(LocalDNSCase):
    namespace = NAMESPACE

    def endpoints(self, service: str, *addresses: str, **more: Any) -> None:
        self.call(
            "POST",
            f"/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices",
            {
                "metadata": {"name": f"{service}-1", "labels": {"kubernetes.io/service-name": service}},
                "addressType": "IPv4",
                "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
                "endpoints": [
                    {"addresses": [address], "conditions": {"ready": number != 1}, **more}
                    for number, address in enumerate(addresses)
                ],
            },
        )

    def ask(self, port: int, name: str, kind: str) -> tuple[str, list[str]]:
        """The status, and the data of the answer section."""
        query = DNSRecord.question(name, kind)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.connect(("127.0.0.1", port))
            sock.send(query.pack())
            answer = DNSRecord.parse(sock.recv(4096))
        return dnslib.RCODE[answer.header.rcode], sorted(str(rr.rdata) for rr in answer.rr)

    def test_everything(self) -> None:
        ports = [{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}]
        address = self.service("web", ports=ports)["spec"]["clusterIP"]
        self.service("db", clusterIP="None", ports=ports[:1])
        self.service("early", clusterIP="None", ports=ports[:1], publishNotReadyAddresses=True)
        self.service("empty", clusterIP="None", ports=ports[:1])
        self.service("inside", type="ExternalName", externalName="web." + SVC)
        self.service("outside", type="ExternalName", externalName="www.example.org")
        self.endpoints("web", "10.2.0.9")
        self.endpoints("db", "10.2.0.1", "10.2.0.2", hostname="db-0")
        self.endpoints("early", "10.2.0.3", "10.2.0.4")
        self.start()
        port = free_port()
        corefile = self.directory / "Corefile"
        corefile.write_text(COREFILE.format(port=port, kubeconfig=self.directory / "kubeconfig"))
        program = shutil.which("coredns") or install("github.com/coredns/coredns", "v1.14.0")
        core = subprocess.Popen(
            [program, "-conf", str(corefile)],
            cwd=self.directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(core.wait)
        self.addCleanup(core.kill)
        last = f"10-2-0-4.early.{SVC}", "A"
        self.until(*last, ("NOERROR", ["10.2.0.4"]))
        end = time.monotonic() + 30
        while self.dig(*last, port=port)[0] != "NOERROR" and time.monotonic() < end:
            time.sleep(0.1)
        reverse = [".".join(reversed(each.split("."))) for each in (address, "10.2.0.1")]
        names = [
            *(
                f"{name}.{SVC}"
                for name in ("web", "WEB", "db", "early", "empty", "inside", "outside", "none")
            ),
            *(
                f"_{port}._{protocol}.{name}.{SVC}"
                for port, protocol in (("http", "tcp"), ("dns", "udp"), ("http", "udp"))
                for name in ("web", "db", "early", "inside")
            ),
            *(f"_tcp.{name}.{SVC}" for name in ("web", "db", "none")),
            f"db-0.db.{SVC}",
            f"10-2-0-1.db.{SVC}",
            f"db-0.web.{SVC}",
            f"10-2-0-9.web.{SVC}",
            f"x.db-0.db.{SVC}",
            SVC,
            "none.svc.cluster.local",
            "svc.cluster.local",
            "cluster.local",
            "pod.cluster.local",
            f"{NAMESPACE}.pod.cluster.local",
            f"10-2-0-1.{NAMESPACE}.pod.cluster.local",
            f"fd00--1.{NAMESPACE}.pod.cluster.local",
            f"x.{NAMESPACE}.pod.cluster.local",
            "10-2-0-1.none.pod.cluster.local",
            "dns-version.cluster.local",
            "ns.dns.cluster.local",
            "other.cluster.local",
            f"*.{SVC}",
            *(f"{each}.in-addr.arpa" for each in reverse),
        ]
        unexplained, used = [], set()
        for name, kind in itertools.product(names, TYPES):
            ours, theirs = self.ask(self.port, name, kind), self.ask(port, name, kind)
            if ours != theirs:
                short = name.replace(NAMESPACE, "NS").removesuffix(".cluster.local").removesuffix(".local")
                rules = [rule for rule in STRICT if re.fullmatch(rule[0], short) and kind in rule[1]]
                used.update(rules)
                if not rules:
                    unexplained.append(f"{name} {kind}: {ours}, CoreDNS {theirs}")
        self.assertEqual(unexplained, [])
        self.assertEqual([rule for rule in STRICT if rule not in used], [], "these do not differ any more")
