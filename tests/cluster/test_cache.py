"""What a real API server of today sends is remembered in every form, and given again without it."""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.cluster.environment import EnvironmentCase, wait_until
from tests.cluster.lite import LiteAPIServer

DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
INITIAL = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=2"
REVIEW = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
QUESTION = {
    "kind": "SubjectAccessReview",
    "apiVersion": "authorization.k8s.io/v1",
    "spec": {"user": "kubelet", "resourceAttributes": {"verb": "get", "resource": "nodes"}},
}


def _lower(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


class LiteCase(EnvironmentCase):
    """Clients of a lite-apiserver."""

    lite: LiteAPIServer

    def kubectl(self, *arguments: str) -> str:
        return self.environment.kubectl(*arguments, kubeconfig=self.lite.kubeconfig)

    def ask(
        self,
        path: str,
        accept: str = "application/json",
        token: str = "",
        body: Any = None,
        none_match: str = "",
        method: str = "",
    ) -> tuple[int, dict[str, str], bytes]:
        """As the administrator, or with a token."""
        context = ssl.create_default_context(cafile=str(self.environment.cluster.pki / "ca.crt"))
        headers = {"Accept": accept, "Content-Type": "application/json"}
        if none_match:
            headers["If-None-Match"] = none_match
        if token:
            headers["Authorization"] = f"Bearer {token}"
        else:
            context.load_cert_chain(self.lite.admin.certificate, self.lite.admin.key)
        data = None if body is None else json.dumps(body).encode()
        if method == "PATCH":
            headers["Content-Type"] = "application/merge-patch+json"
        request = urllib.request.Request(f"{self.lite.url}{path}", data, headers, method=method or None)
        try:
            with urllib.request.urlopen(request, timeout=30, context=context) as answer:
                return answer.status, _lower(answer.headers), answer.read()
        except urllib.error.HTTPError as problem:
            with problem:
                return problem.code, _lower(problem.headers), problem.read()


class CacheTests(LiteCase):
    """One test: the API server goes away in its middle and does not come back."""

    @classmethod
    def prepare(cls, environment: Any) -> None:
        environment.cluster.up(controllers=True)
        cls.lite = LiteAPIServer(
            environment,
            store="sqlite",
            more="""
[[lite_apiserver.prefetch]]
identity = "admin"
paths = ["/api/v1/services", "/apis/scheduling.k8s.io/v1/priorityclasses?labelSelector=none"]
form = "protobuf"
[[lite_apiserver.prefetch]]
identity = "admin"
paths = ["/api/v1/nodes"]
""",
        )

    def events(self, accept: str) -> list[tuple[str, str]]:
        """Type and name of what a WatchList brings; the end is named END."""
        _, _, body = self.ask(f"{CONFIGMAPS}?watch=true&{INITIAL}", accept)
        found = []
        for line in body.splitlines():
            event = json.loads(line)
            target = event["object"]
            if target["kind"] == "Table":
                target = target["rows"][0]["object"]
            meta = target["metadata"]
            end = "k8s.io/initial-events-end" in (meta.get("annotations") or {})
            if event["type"] != "BOOKMARK" or end:
                found.append((event["type"], "END" if end else meta["name"]))
        return found

    def inspect(self, *arguments: str) -> Any:
        script = str(Path(sys.executable).with_name("superedge-cache"))
        config = str(self.environment.directory / "lite.toml")
        command = [script, *arguments, "--config", config, "--output", "json"]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    def test_every_form_through_an_outage(self) -> None:
        environment = self.environment
        for name in ("one", "two", "three"):
            environment.kubectl("create", "configmap", name, f"--from-literal=k={name}")
            environment.kubectl("label", "configmap", name, f"app={name}")
        wait_until(
            lambda: environment.try_kubectl("get", "serviceaccount", "default").returncode == 0, "an account"
        )
        environment.kubectl("create", "clusterrolebinding", "view", "--clusterrole=view", "--user=nobody")
        account = "--serviceaccount=default:default"
        environment.kubectl("create", "rolebinding", "read", "--clusterrole=view", account)
        first = environment.kubectl("create", "token", "default").strip()
        unseen = environment.kubectl("create", "token", "default", "--duration=20m").strip()
        wait_until(lambda: self.lite.status.get("token_issuer"), "the issuer's keys are known")

        table = self.kubectl("get", "configmaps")
        self.kubectl("api-resources")
        explained = self.kubectl("explain", "configmap.data")
        events = {form: self.events(form) for form in ("application/json", TABLE)}
        self.assertEqual(events[TABLE][-1], ("BOOKMARK", "END"))
        self.assertEqual(self.ask(CONFIGMAPS, token=first)[0], 200)
        self.assertEqual(self.ask(REVIEW, body=QUESTION)[0], 201)
        etag = self.ask("/apis", DISCOVERY)[1]["etag"]
        self.ask(f"{CONFIGMAPS}/never")
        # Changes after the watches' beginnings come by watches alone.
        watch = subprocess.Popen(
            environment.command("get", "configmaps", "-w", kubeconfig=self.lite.kubeconfig),
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(watch.wait)
        self.addCleanup(watch.kill)
        assert watch.stdout is not None
        self.addCleanup(watch.stdout.close)
        while not watch.stdout.readline().startswith("two"):
            pass
        environment.kubectl("delete", "configmap", "three")
        environment.kubectl("create", "configmap", "four")
        while not watch.stdout.readline().startswith("four"):
            pass
        services = [each for each in self.lite.status["prefetch"] if each["state"] == "watching"]
        self.assertEqual(len(services), 3, self.lite.status["prefetch"])
        self.assertEqual(self.inspect("verify")["faults"], [])

        environment.cluster.stop("kube-apiserver", signal.SIGKILL)
        wait_until(lambda: self.lite.state == "offline", "the outage is noticed")
        for crashed in (False, True):
            if crashed:
                self.lite.crash()
                self.assertEqual(self.inspect("verify")["faults"], [])
                self.lite.start()
                wait_until(lambda: self.lite.state == "offline", "it is back")
            names = [line.split()[0] for line in self.kubectl("get", "configmaps").splitlines()]
            wanted = [line.split()[0] for line in table.splitlines() if not line.startswith("three")]
            self.assertEqual(sorted(names), sorted([*wanted, "four"]))
            selected = self.kubectl("get", "configmaps", "-l", "app in (one,two)", "--no-headers")
            self.assertEqual(sorted(line.split()[0] for line in selected.splitlines()), ["one", "two"])
            self.assertEqual(self.kubectl("explain", "configmap.data"), explained)
            self.assertIn("configmaps", self.kubectl("api-resources"))
            self.assertEqual(self.ask("/apis", DISCOVERY, none_match=etag)[0], 304)
            self.assertIn(b"APIGroupDiscoveryList", self.ask("/apis", DISCOVERY)[2])
            # The watch in JSON ended before the changes, the one of Tables saw them.
            self.assertEqual(sorted(self.events("application/json")), sorted(events["application/json"]))
            changed = {*events[TABLE], ("ADDED", "four")} - {("ADDED", "three")}
            self.assertEqual(set(self.events(TABLE)), changed)
            self.assertEqual(self.ask(f"{CONFIGMAPS}/never")[0], 404)
            self.assertEqual(self.ask(f"{CONFIGMAPS}/three")[0], 404)
            self.assertEqual(self.ask("/api/v1/nodes")[0], 200)  # nobody asked for it online
            protobuf = self.ask("/api/v1/services", "application/vnd.kubernetes.protobuf")
            self.assertTrue(protobuf[2].startswith(b"k8s\0"))
            # Believed by its signature, and sees what the account saw.
            code, _, body = self.ask(CONFIGMAPS, token=unseen)
            self.assertEqual((code, json.loads(body)["kind"]), (200, "ConfigMapList"))
            forged = ".".join([*unseen.split(".")[:2], first.split(".")[2]])
            self.assertEqual(self.ask(CONFIGMAPS, token=forged)[0], 401)
            self.assertEqual(self.ask("/api/v1/nodes", token=unseen)[0], 503)
            self.assertEqual(self.ask(REVIEW, body=QUESTION)[0], 503 if crashed else 201)
            self.assertEqual(self.ask(REVIEW, body={**QUESTION, "spec": {"user": "x"}})[0], 503)
        self.assertEqual(
            {each["resource"] for each in self.inspect("list", "--resource", "configm*")}, {"configmaps"}
        )


class OwnWriteTests(LiteCase):
    """What a client wrote, and what it was refused, before the API server went away."""

    @classmethod
    def prepare(cls, environment: Any) -> None:
        environment.cluster.up(controllers=True)
        cls.lite = LiteAPIServer(environment)

    def write(self, method: str, path: str, body: Any = None, wanted: tuple[int, ...] = (200, 201)) -> Any:
        code, _, answer = self.ask(path, method=method, body=body)
        self.assertIn(code, wanted, answer)
        return json.loads(answer)

    def names(self, path: str = CONFIGMAPS, **options: Any) -> list[str]:
        code, _, body = self.ask(path, **options)
        self.assertEqual(code, 200, body)
        names = [item["metadata"]["name"] for item in json.loads(body)["items"]]
        return [name for name in names if not name.startswith("kube-")]

    def test_through_an_outage(self) -> None:
        environment = self.environment
        for name in ("one", "two", "three", "four"):
            environment.kubectl("create", "configmap", name, f"--from-literal=k={name}")
        deployment = {
            "metadata": {"name": "web"},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "main", "image": "test.local/box:1"}]},
                },
            },
        }
        deployments = "/apis/apps/v1/namespaces/default/deployments"
        self.write("POST", deployments, deployment)
        self.assertEqual(self.names(), ["four", "one", "three", "two"])
        self.assertEqual(self.names(deployments), ["web"])
        self.kubectl("get", "configmaps")
        self.kubectl("get", "secrets")
        # An account that may list Secrets, until it may not.
        wait_until(
            lambda: environment.try_kubectl("get", "serviceaccount", "default").returncode == 0, "an account"
        )
        secrets = "/api/v1/namespaces/default/secrets"
        environment.kubectl("create", "role", "secrets", "--verb=get,list", "--resource=secrets")
        environment.kubectl(
            "create", "rolebinding", "secrets", "--role=secrets", "--serviceaccount=default:default"
        )
        environment.kubectl("create", "secret", "generic", "hidden")
        token = environment.kubectl("create", "token", "default").strip()
        wait_until(lambda: self.ask(secrets, token=token)[0] == 200, "it may list Secrets")
        self.assertEqual(self.ask(f"{secrets}/hidden", token=token)[0], 200)
        environment.kubectl("delete", "rolebinding", "secrets")
        wait_until(lambda: self.ask(secrets, token=token)[0] == 403, "it may no longer")

        # Its history begins anew: what was listed stays true.
        environment.cluster.stop("kube-apiserver", signal.SIGKILL)
        wait_until(lambda: self.lite.state == "offline", "the restart is noticed")
        environment.cluster.start("kube-apiserver")
        environment.cluster.wait_until_ready()
        wait_until(lambda: self.lite.state == "online", "lite-apiserver is online again")
        gone = self.ask(f"{CONFIGMAPS}?watch=true&resourceVersion=1&timeoutSeconds=2")
        self.assertIn(b'"code":410', gone[2])
        meta = {"metadata": {"generateName": "made-"}, "data": {"k": "v"}}
        made = self.write("POST", CONFIGMAPS, meta)["metadata"]["name"]
        five = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: five}\n"
        environment.kubectl("apply", "-f", "-", stdin=five, kubeconfig=self.lite.kubeconfig)
        self.write("PATCH", f"{CONFIGMAPS}/one", {"data": {"k": "patched"}})
        held = {"metadata": {"finalizers": ["superedge.test/wait"]}}
        self.write("PATCH", f"{CONFIGMAPS}/two", held)
        self.write("DELETE", f"{CONFIGMAPS}/two")
        self.write("DELETE", f"{CONFIGMAPS}/three")
        self.kubectl("delete", "configmap", "four", "--dry-run=server")
        self.write("DELETE", f"{CONFIGMAPS}/four?dryRun=All")
        self.write("POST", f"{CONFIGMAPS}?dryRun=All", {"metadata": {"name": "never"}})
        self.write("PATCH", f"{deployments}/web/scale", {"spec": {"replicas": 1}})
        self.kubectl("create", "secret", "generic", "made")  # in protobuf, and listed as a Table
        online = self.ask(CONFIGMAPS, method="HEAD")[0]

        environment.cluster.stop("kube-apiserver", signal.SIGKILL)
        wait_until(lambda: self.lite.state == "offline", "the outage is noticed")
        wanted = sorted(["five", "four", made, "one", "two"])
        for crashed in (False, True):
            if crashed:
                self.lite.crash()
                self.lite.start()
                wait_until(lambda: self.lite.state == "offline", "it is back")
            self.assertEqual(self.names(), wanted)
            code, _, body = self.ask(f"{CONFIGMAPS}/one")
            self.assertEqual((code, json.loads(body)["data"]), (200, {"k": "patched"}))
            self.assertEqual(json.loads(self.ask(f"{CONFIGMAPS}/{made}")[2])["data"], {"k": "v"})
            self.assertIn("deletionTimestamp", json.loads(self.ask(f"{CONFIGMAPS}/two")[2])["metadata"])
            self.assertEqual(self.ask(f"{CONFIGMAPS}/three")[0], 404)
            self.assertEqual(self.ask(f"{deployments}/web")[0], 503, "how it was scaled is not known")
            # RFC 9110: as GET; the API server itself has no such method.
            self.assertEqual((self.ask(CONFIGMAPS, method="HEAD")[0], online), (200, 405))
            self.assertIn("made", self.kubectl("get", "secrets"))
            shown = environment.try_kubectl("get", "configmaps", kubeconfig=self.lite.kubeconfig)
            self.assertIn("Warning: the cloud is out of reach since 20", shown.stderr)
            rows = [line.split() for line in shown.stdout.splitlines()[1:]]
            self.assertEqual([row[0] for row in rows if not row[0].startswith("kube-")], wanted)
            self.assertEqual({row[0]: row[1] for row in rows}["four"], "1")
            self.assertNotIn("<unknown>", [row[2] for row in rows], "ages are counted")
            code, _, body = self.ask(secrets, token=token)
            self.assertEqual((code, json.loads(body)["reason"]), (403, "Forbidden"))
            self.assertNotEqual(self.ask(f"{secrets}/hidden", token=token)[0], 200)
