"""Pods of a real kubelet resolve through their node: online, offline, and after a reboot offline."""

from __future__ import annotations

import signal
import socket
import threading
from pathlib import Path
from unittest import SkipTest

import dnslib
from dnslib import RR, SOA, A, DNSRecord

from tests.cluster.clibraries import build_resolvers, missing
from tests.cluster.environment import Environment, EnvironmentCase, wait_until
from tests.cluster.lite import LiteAPIServer

NODE = "shop-3"
DNS = "local-dns"
ADDRESS = "169.254.20.10"
NAMES = (
    "web",
    "web.default",
    "web.default.svc.cluster.local",
    "kubernetes.default",
    "www.example.org",
    "none",
)
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: asks}
  ports: [{port: 80}]
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: asks, labels: {{app: asks}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: test.local/box:1
    imagePullPolicy: Never
    command:
    - sh
    - -c
    - |
      cat /etc/resolv.conf
      nslookup web.default.svc.cluster.local
      while true; do {commands} echo round; sleep 0.5; done
    volumeMounts: [{{name: tools, mountPath: /tools}}]
  volumes:
  - name: tools
    hostPath: {{path: {tools}}}
"""


class Upstream:
    """A DNS server that knows one name, in a thread."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            data, peer = self._socket.recvfrom(4096)
            if not data:
                self._socket.close()
                return
            answer = DNSRecord.parse(data).reply()
            known = str(answer.q.qname) == "www.example.org."
            if known and answer.q.qtype == dnslib.QTYPE.A:
                answer.add_answer(RR(answer.q.qname, dnslib.QTYPE.A, ttl=1, rdata=A("192.0.2.80")))
            else:
                answer.header.rcode = 0 if known else 3
                answer.add_auth(
                    RR("example.org", dnslib.QTYPE.SOA, ttl=1, rdata=SOA("a.", "b.", (1, 1, 1, 1, 1)))
                )
            self._socket.sendto(answer.pack(), peer)

    def stop(self) -> None:
        """An empty packet ends it."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", ("127.0.0.1", self.port))


class PodTests(EnvironmentCase):
    """Tests of one class run in the order of their names."""

    lite: LiteAPIServer
    upstream: Upstream
    libraries: dict[str, Path]
    address: str
    """Of the Service."""

    @classmethod
    def prepare(cls, environment: Environment) -> None:
        environment.cluster.up(controllers=True)
        cls.lite = LiteAPIServer(environment)
        cls.upstream = Upstream()
        environment.twistd(
            DNS,
            "superedge-edge",
            f"""[kubernetes]
kubeconfig = "{cls.lite.kubeconfig}"
[local_dns]
listen = ["{ADDRESS}:53"]
interface = "superedge-dns"
snapshot = "dns.snapshot"
[[local_dns.forward]]
upstreams = ["127.0.0.1:{cls.upstream.port}"]
""",
        )
        environment.worker(NODE, cls.lite.url, number=7)
        tools = environment.directory / "tools"
        tools.mkdir()
        cls.libraries = build_resolvers(tools)
        commands = " ".join(
            f"/tools/{path.name} {name} {' '.join(NAMES)};" for name, path in cls.libraries.items()
        )
        environment.kubectl("apply", "-f", "-", stdin=SERVICE)
        cls.address = environment.kubectl("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
        wait_until(
            lambda: environment.try_kubectl("get", "serviceaccount", "default").returncode == 0,
            "a service account",
        )
        environment.kubectl("apply", "-f", "-", stdin=POD.format(node=NODE, tools=tools, commands=commands))

    def said(self) -> list[str]:
        """What the pod has written, as the node's disk has it."""
        files = sorted((self.environment.workers[0].home / "logs").glob("default_asks*/main/*.log"))
        lines = [line for file in files for line in file.read_text().splitlines()]
        return [line.split(" ", 3)[3] for line in sorted(lines)]

    def check(self, what: str) -> None:
        """That a whole new round has the right answers."""
        right = {
            "web": self.address,
            "web.default": self.address,
            "web.default.svc.cluster.local": self.address,
            "kubernetes.default": "10.96.0.1",
            "www.example.org": "192.0.2.80",
            "none": "",
        }
        expected = [
            f"{library} {name} {right[name]}".rstrip() for library in self.libraries for name in NAMES
        ]
        before = len(self.said())

        def new_round() -> list[str]:
            lines = self.said()[before:]
            rounds = [at for at, line in enumerate(lines) if line == "round"]
            return lines[rounds[-2] + 1 : rounds[-1]] if len(rounds) > 1 else []

        try:
            wait_until(lambda: new_round() == expected, what, 60)
        except AssertionError:
            self.assertEqual(new_round(), expected, what)
            raise

    def test_0_both_c_libraries_are_there(self) -> None:
        if missing():
            raise SkipTest(f"no {' and no '.join(missing())}: that library's resolver is not tried")

    def test_1_online(self) -> None:
        self.environment.kubectl("wait", "--for=condition=Ready", "pod/asks", "--timeout=60s")
        self.check("online")
        said = self.said()
        self.assertEqual(said[0], "search default.svc.cluster.local svc.cluster.local cluster.local")
        for line in ("options ndots:5", f"Server:\t\t{ADDRESS}", f"Address: {self.address}"):
            self.assertIn(line, said)

    def test_2_the_link_is_cut(self) -> None:
        self.environment.cluster.stop("kube-apiserver", signal.SIGKILL)
        self.upstream.stop()
        self.check("offline")

    def test_3_a_reboot_without_the_link(self) -> None:
        environment = self.environment
        (worker,) = environment.workers
        worker.power_off()
        environment.end(DNS, signal.SIGTERM)
        self.lite.crash()
        self.lite.start()
        environment.twistd(DNS, "superedge-edge")
        worker.power_on()
        self.check("after a reboot offline")
