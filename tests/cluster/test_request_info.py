"""Requests are read as the API server reads them: held against the audit log of a real one."""

from __future__ import annotations

import json
import socket
import ssl
from itertools import product
from pathlib import Path
from typing import Any

from superedge.kube.request import RequestInfo, parse_request
from tests.cluster.environment import Environment, EnvironmentCase, wait_until

POLICY = """
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted, Panic]
rules: [{level: Metadata}]
"""
PODS = "/api/v1/namespaces/default/pods"
PATHS = (
    "/",
    "/api",
    "/apis/apps/v1",
    "/version",
    PODS,
    f"{PODS}/",
    f"/{PODS}",
    f"{PODS}//a",
    f"{PODS}/a",
    f"{PODS}/a/log",
    f"{PODS}/a%2Flog",
    f"{PODS}/a%2flog",
    f"{PODS}/%61",
    f"{PODS}/a%3Ab",
    f"{PODS}/a%25b",
    f"{PODS}/a%20b",
    f"{PODS}/%C3%A9",
    f"{PODS}/%FF",
    f"{PODS};x=1",
    f"{PODS}%3Bx",
    f"{PODS}/.",
    f"{PODS}/..",
    f"{PODS}/%2e%2e",
    f"{PODS}/a/proxy/../b",
    f"{PODS}/a#b",
    "/API/v1/pods",
    "/api/V1/Pods",
    "/%61pi/v1/pods",
    "/api/v1/n%6Fdes/n",
    "/api/v1/namespaces",
    "/api/v1/namespaces/a",
    "/api/v1/namespaces/a/status",
    "/api/v1/namespaces/a/finalize",
    "/api/v1/namespaces/shop%2Fpods%2Fweb:80%2Fproxy%2F/serviceaccounts/x/token",
    "/api/v1/namespaces/shop/serviceaccounts/x/token",
    "/api/v1/watch/pods",
    "/api/v1/watch/namespaces/a/pods/b",
    "/api/v1/proxy/nodes/n/stats",
    "/apis/apps/v1/namespaces/a/deployments/b/scale",
    "/apis/authentication.k8s.io/v1/tokenreviews",
    "https://127.0.0.1/api/v1/pods",
    f"HTTPS://127.0.0.1{PODS}/a",
)
QUERIES = (
    *(
        "watch",
        "watch=",
        "watch=1",
        "watch=t",
        "watch=T",
        "watch=yes",
        "watch=on",
        "watch=true",
        "watch=TRUE",
    ),
    *("watch=0", "watch=false", "watch=False", "watch=FAL%C5%BFE", "watch=0&watch=1", "watch=1&watch=0"),
    *("Watch=1", "w%61tch=1", "watch=1;x", "x;watch=1", "watch=%", "watch=%zz", "watch=1&x=%FF", "watch=1#"),
    *("watch=+", "&watch=1", "watch=1&limit=x", "limit=x", "%77atch=%30", "watch==0", "watch=1%00"),
)


class RequestInfoTests(EnvironmentCase):
    @classmethod
    def prepare(cls, environment: Environment) -> None:
        policy = environment.directory / "audit.yaml"
        policy.write_text(POLICY)
        log = environment.directory / "audit.log"
        environment.cluster.up(
            apiserver_arguments=[f"--audit-policy-file={policy}", f"--audit-log-path={log}"]
        )

    def send(self, method: str, target: str, audit: str) -> None:
        """Send one request and read the beginning of its answer."""
        cluster = self.environment.cluster
        context = ssl.create_default_context(cafile=str(cluster.pki / "ca.crt"))
        context.load_cert_chain(cluster.pki / "admin.crt", cluster.pki / "admin.key")
        with (
            socket.create_connection((cluster.host, cluster.port), 10) as plain,
            context.wrap_socket(plain, server_hostname=cluster.host) as sock,
        ):
            sock.sendall(
                f"{method} {target} HTTP/1.1\r\nHost: {cluster.host}\r\nAudit-ID: {audit}\r\n"
                "Connection: close\r\nContent-Length: 0\r\n\r\n".encode()
            )
            self.assertTrue(sock.recv(100))

    def events(self, path: Path) -> dict[str, Any]:
        """The audited requests, by their IDs."""
        lines = path.read_text().splitlines() if path.exists() else []
        found = [json.loads(line) for line in lines]
        return {event["auditID"]: event for event in found}

    def as_audited(self, info: RequestInfo) -> tuple[str, ...]:
        where = (info.group, info.version, info.resource, info.subresource, info.namespace, info.name)
        return (info.verb, *(where if info.is_resource else ("",) * 6))

    def read(self, event: dict[str, Any]) -> tuple[str, ...]:
        keys = ("apiGroup", "apiVersion", "resource", "subresource", "namespace", "name")
        return (event["verb"], *(event.get("objectRef", {}).get(key, "") for key in keys))

    def test_differential(self) -> None:
        targets = list(product(("GET", "HEAD", "POST", "DELETE", "OPTIONS"), PATHS))
        targets += [("GET", f"{path}?{query}") for path, query in product((PODS, f"{PODS}/a"), QUERIES)]
        asked = {f"differential-{number}": each for number, each in enumerate(targets)}
        for audit, (method, target) in asked.items():
            self.send(method, target, audit)
        log = self.environment.directory / "audit.log"
        self.send("GET", "/version", "last")
        wait_until(lambda: "last" in self.events(log), "everything is in the audit log")
        events = self.events(log)
        compared = 0
        for audit, (method, target) in asked.items():
            info = parse_request(method.encode(), target.encode(), b"")
            if info.opaque:
                continue
            self.assertIn(audit, events, f"{method} {target} is not read by the API server")
            self.assertEqual(self.as_audited(info), self.read(events[audit]), f"{method} {target}")
            compared += 1
        self.assertGreater(compared, len(asked) // 2)
