"""The application grid on a real control plane: kubectl on one side, hollow nodes on the other.

The controller has no more rights than deploy/kubernetes/grid-rbac.yaml gives. The sites alpha and beta have a
node each with a kubelet, so that pods run; gamma's node is an object alone.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.request
from typing import Any

from superedge.testing.ports import free_port
from tests.cluster.edgesites import DEPLOY
from tests.cluster.environment import Environment, EnvironmentCase, wait_until
from tests.cluster.namespace import NetworkNamespace
from tests.controlplane.build import BINARY
from tests.controlplane.cluster import Cluster

CLOUD = "10.214.1.1"
KEY = "example.com/site"
GRACE = 4
CONTROLLER = """
[ops]
listen = "127.0.0.1:{ops}"
[kubernetes]
kubeconfig = "{kubeconfig}"
[application_grid]
install_crds = true
site_grace = {grace}
"""
NODES = {"alpha": ("alpha", "10.214.1.2", "10.214.1.1"), "beta": ("beta", "10.214.2.2", "10.214.2.1")}


CONTAINER = {
    "name": "main",
    "image": "shop:1",
    "ports": [{"containerPort": 80, "name": "http"}, {"containerPort": 81}],
    "env": [
        {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "EMPTY", "value": ""},
    ],
    "resources": {"requests": {"cpu": "10m", "memory": "1024Ki"}, "limits": {"memory": "0.5Gi"}},
    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
}
"""With values that the API server writes in another way."""


def template(image: str = "shop:1", **more: Any) -> dict[str, Any]:
    """A Deployment's spec."""
    return {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "shop"}},
        "template": {
            "metadata": {"labels": {"app": "shop"}, "creationTimestamp": None},
            "spec": {
                "containers": [{**CONTAINER, "image": image}],
                "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1024Mi"}}],
                "tolerations": [{"key": "example.com/edge", "operator": "Exists"}],
                "hostNetwork": False,
                "securityContext": {},
            },
        },
        **more,
    }


def grid(kind: str, name: str, **spec: Any) -> str:
    """A grid as kubectl applies it."""
    metadata = {"name": name, "namespace": "default"}
    whole = {"gridUniqKey": KEY, "template": template(), **spec}
    return json.dumps({"apiVersion": "superedge.io/v1", "kind": kind, "metadata": metadata, "spec": whole})


class GridTests(EnvironmentCase):
    """One story, in the order of the names."""

    ports: dict[str, int]
    token_file: str

    @classmethod
    def prepare(cls, environment: Environment) -> None:
        spaces = [
            NetworkNamespace(f"grids-{site[0]}", inside, [outside])
            for site, inside, outside in NODES.values()
        ]
        environment.last += [space.remove for space in spaces]
        environment.cluster = cluster = Cluster(environment.directory / "cluster", host=CLOUD)
        cluster.up(controllers=True, controller_arguments=["--horizontal-pod-autoscaler-sync-period=2s"])
        for space, (name, (site, inside, outside)) in zip(spaces, NODES.items(), strict=True):
            subprocess.run(
                ["ip", "-n", space.name, "route", "add", "default", "via", outside],
                check=True,
                capture_output=True,
            )
            cls._kubelet(environment, space.name, name, site, inside)
        environment.kubectl("create", "namespace", "superedge")
        environment.kubectl("-n", "superedge", "create", "serviceaccount", "superedge-cloud")
        for name in ("grid-rbac", "grid-crds"):
            environment.kubectl("apply", "-f", str(DEPLOY / f"{name}.yaml"))
        cls.ports = {name: free_port() for name in ("one", "two")}
        for name in NODES:
            environment.wait_for_node(name)
        environment.kubectl(
            "wait", "--for=condition=Established", "crd", *(f"{kind}grids.superedge.io" for kind in _KINDS)
        )
        cls.start_controller(environment, "one")

    @classmethod
    def _kubelet(cls, environment: Environment, space: str, name: str, site: str, address: str) -> None:
        cluster = environment.cluster
        identity = cluster.certificate(f"system:node:{name}", ["system:nodes"], [name])
        config = cluster.kubeconfig(identity, environment.directory / f"{name}.kubeconfig")
        argv = [
            "ip", "netns", "exec", space, BINARY, "hollow-kubelet", f"--name={name}",
            f"--kubeconfig={config}",
            f"--address={address}", f"--certificate={identity.certificate}", f"--key={identity.key}",
            f"--labels={KEY}={site}",
        ]  # fmt: skip
        with (environment.directory / f"kubelet-{name}.log").open("ab") as log:
            environment.processes[f"kubelet-{name}"] = subprocess.Popen(
                [str(part) for part in argv], stdout=log, stderr=log, cwd=environment.directory
            )

    @classmethod
    def start_controller(cls, environment: Environment, name: str) -> None:
        """A replica, as the service account."""
        token = environment.kubectl("-n", "superedge", "create", "token", "superedge-cloud").strip()
        path = environment.directory / "superedge-cloud.kubeconfig"
        content = json.loads(environment.kubeconfig.read_text())
        content["users"][0]["user"] = {"token": token}
        content["contexts"][0]["context"]["namespace"] = "superedge"
        path.touch(0o600)
        path.write_text(json.dumps(content))
        config = CONTROLLER.format(ops=cls.ports[name], kubeconfig=path, grace=GRACE)
        environment.twistd(name, "superedge-cloud", config)

    # -- what there is

    def page(self, name: str, path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}{path}", timeout=3) as answer:
                found: bytes = answer.read()
                return found.decode()
        except OSError:
            return ""

    def leads(self, name: str) -> bool:
        page = self.page(name, "/superedge/status")
        return bool(page) and bool(json.loads(page)["application_grid"]["leading"])

    def synced(self, name: str) -> bool:
        page = self.page(name, "/superedge/status")
        return bool(page) and bool(json.loads(page)["application_grid"].get("synced"))

    def writes(self, name: str, kind: str = "") -> float:
        """Writes of a replica so far, of all kinds or of one."""
        lines = [line for line in self.page(name, "/metrics").splitlines() if f'kind="{kind}' in line]
        return sum(
            float(line.split()[-1]) for line in lines if line.startswith("superedge_grid_writes_total")
        )

    def objects(self, what: str, *more: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.environment.kubectl("get", what, *more, "-o", "json"))[
            "items"
        ]
        return found

    def one(self, what: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.environment.kubectl("get", what, name, "-o", "json"))
        return found

    def names(self, what: str) -> set[str]:
        return {item["metadata"]["name"] for item in self.objects(what)}

    def pods(self, app: str) -> dict[str, str]:
        """The uids of an app's pods by node, of those that run."""
        return {
            item["metadata"]["uid"]: item["spec"].get("nodeName", "")
            for item in self.objects("pods", "-l", f"app={app}")
            if item["status"].get("phase") == "Running" and "deletionTimestamp" not in item["metadata"]
        }

    def condition(self, kind: str, what: str = "dg", name: str = "shop") -> dict[str, Any]:
        conditions = self.one(what, name).get("status", {}).get("conditions", [])
        return next((each for each in conditions if each["type"] == kind), {"status": "", "reason": ""})

    def until(self, kind: str, reason: str, what: str = "dg", name: str = "shop", seconds: float = 40) -> str:
        """Wait for a condition. Returns its message."""
        wait_until(lambda: self.condition(kind, what, name)["reason"] == reason, f"{name}: {reason}", seconds)
        found: str = self.condition(kind, what, name)["message"]
        return found

    def states(self, name: str = "shop") -> dict[str, Any]:
        found: dict[str, Any] = self.one("dg", name)["status"]["states"]
        return found

    def image(self, name: str) -> str:
        found: str = self.one("deployment", name)["spec"]["template"]["spec"]["containers"][0]["image"]
        return found

    def change(self, **spec: Any) -> None:
        """Change the grid's spec, as kubectl patch does."""
        self.environment.kubectl("patch", "dg", "shop", "--type=merge", "-p", json.dumps({"spec": spec}))

    def node(self, name: str, site: str) -> str:
        return json.dumps(
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {KEY: site}}}
        )

    # -- the story

    def test_01_kubectl(self) -> None:
        kubectl = self.environment.kubectl
        wait_until(lambda: self.synced("one"), "the CRDs are brought up to date, and the cluster is read", 30)
        kubectl("apply", "-f", "-", stdin=grid("DeploymentGrid", "shop"))
        service = {"selector": {"app": "shop"}, "ports": [{"port": 80, "targetPort": 8080}]}
        kubectl("apply", "-f", "-", stdin=grid("ServiceGrid", "shop", template=service))
        self.until("Ready", "SitesReady")
        wait_until(lambda: set(self.pods("shop").values()) == {"alpha", "beta"}, "its pods run", 30)
        head, line = kubectl("get", "dg").splitlines()
        self.assertEqual(head.split(), ["NAME", "KEY", "SITES", "UPDATED", "READY", "DEGRADED", "AGE"])
        self.assertEqual(line.split()[:6], ["shop", KEY, "2", "2", "2", "False"])
        self.until("Ready", "ServiceThere", "sg")
        line = kubectl("get", "sg", "--no-headers")
        address = self.one("service", "shop-svc")["spec"]["clusterIP"]
        self.assertEqual(line.split()[:5], ["shop", KEY, "shop-svc", address, "True"])
        notes = self.one("service", "shop-svc")["metadata"]["annotations"]
        self.assertEqual(json.loads(notes["topologyKeys"]), [KEY])
        for field in (
            "dg.spec",
            "dg.spec.rollout",
            "ssg.spec.templatePool",
            "sg.spec.template",
            "dg.status.states",
        ):
            # The API server publishes the schema of a changed CRD some time later.
            wait_until(
                lambda field=field: "DESCRIPTION" in self.environment.try_kubectl("explain", field).stdout,  # type: ignore[misc]
                f"explain {field}",
                20,
            )
        self.assertIn("maxSitesUnavailable", kubectl("explain", "dg.spec.rollout"))

    def test_02_what_is_refused(self) -> None:
        odd = template()
        odd["template"]["spec"]["nodeSelector"] = ["disk"]
        for kind, name, spec, said in (
            ("DeploymentGrid", "bad", {"gridUniqKey": "no/such/key"}, "must be the key of a label"),
            ("DeploymentGrid", "bad", {"rollout": {"pauseAfter": "x%"}}, "must be a number of at least 0"),
            ("DeploymentGrid", "bad", {"template": odd}, "nodeSelector in body must be of type object"),
            ("DeploymentGrid", "n" * 64, {}, "at most 63 characters"),
            ("ServiceGrid", "my.shop", {}, "no dots"),
            ("StatefulSetGrid", "bad", {"template": {"replicas": 1}}, "spec.template.selector"),
        ):  # fmt: skip
            done = self.environment.try_kubectl("apply", "-f", "-", stdin=grid(kind, name, **spec))
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(said, done.stderr)

    def test_03_what_others_own_stays_theirs(self) -> None:
        kubectl, made = self.environment.kubectl, self.writes("one", "Deployment")
        kubectl("autoscale", "deployment", "shop-alpha", "--min=3", "--max=5", "--cpu=50%")
        kubectl("rollout", "restart", "deployment", "shop-beta")
        kubectl("annotate", "deployment", "shop-beta", "mine=yes")
        wait_until(lambda: self.one("deployment", "shop-alpha")["spec"]["replicas"] == 3, "it is scaled", 30)
        restarted = self.one("deployment", "shop-beta")["spec"]["template"]["metadata"]["annotations"]
        self.change(template=template("shop:2"))
        wait_until(lambda: {self.image("shop-alpha"), self.image("shop-beta")} == {"shop:2"}, "the image", 20)
        kubectl("rollout", "status", "deployment", "shop-alpha", "--timeout=30s")
        self.assertEqual(self.one("deployment", "shop-alpha")["spec"]["replicas"], 3)
        beta = self.one("deployment", "shop-beta")
        self.assertEqual(beta["spec"]["template"]["metadata"]["annotations"], restarted)
        self.assertEqual((beta["metadata"]["annotations"]["mine"], beta["spec"]["replicas"]), ("yes", 2))
        self.assertEqual(self.writes("one", "Deployment") - made, 2)
        kubectl("set", "image", "deployment", "shop-beta", "main=drift:1")
        wait_until(lambda: self.image("shop-beta") == "shop:2", "drift is put back", 20)
        kubectl("delete", "hpa", "shop-alpha")

    def test_04_at_rest_it_writes_nothing(self) -> None:
        self.until("Ready", "SitesReady")
        time.sleep(2)
        before = self.writes("one"), {
            item["metadata"]["name"]: item["metadata"]["resourceVersion"]
            for what in ("deployments", "dg", "sg") for item in self.objects(what)
        }  # fmt: skip
        time.sleep(3)
        after = self.writes("one"), {
            item["metadata"]["name"]: item["metadata"]["resourceVersion"]
            for what in ("deployments", "dg", "sg") for item in self.objects(what)
        }  # fmt: skip
        self.assertEqual(before, after)

    def test_05_one_site_on_trial_and_a_template_that_is_missing(self) -> None:
        # The parameters of the default strategy, which are nobody's, may not stay.
        trial = template("shop:3", strategy={"type": "Recreate"})
        trial["template"]["metadata"]["labels"]["trial"] = "yes"
        self.change(templatePool={"trial": trial}, templates={"alpha": "trial"})
        wait_until(lambda: self.image("shop-alpha") == "shop:3", "alpha has the trial", 20)
        labels = self.one("deployment", "shop-alpha")["spec"]["template"]["metadata"]["labels"]
        self.assertEqual((labels["trial"], self.image("shop-beta")), ("yes", "shop:2"))
        self.assertEqual(self.one("deployment", "shop-alpha")["spec"]["strategy"], {"type": "Recreate"})
        self.change(templates={"alpha": "trial", "beta": "nowhere"})
        self.assertIn("beta: its template nowhere", self.until("Degraded", "TemplateMissing"))
        trial["template"]["spec"]["containers"][0]["image"] = "shop:4"
        self.change(templatePool={"trial": trial})
        wait_until(lambda: self.image("shop-alpha") == "shop:4", "alpha goes on", 20)
        self.change(templates=None, templatePool=None)
        self.until("Ready", "SitesReady")

    def test_06_a_wave_stops_at_a_site_that_fails(self) -> None:
        self.change(rollout={"maxSitesUnavailable": 1})
        self.until("Progressing", "RolloutComplete")
        broken = template("shop:5", progressDeadlineSeconds=3)
        broken["template"]["spec"]["readinessGates"] = [{"conditionType": "example.com/never"}]
        self.change(template=broken)
        self.assertIn("alpha did not become ready", self.until("Progressing", "RolloutStopped"))
        self.assertEqual((self.image("shop-alpha"), self.image("shop-beta")), ("shop:5", "shop:2"))
        self.assertIn("alpha", self.condition("Degraded")["message"])
        columns = self.environment.kubectl("get", "dg", "--no-headers").split()
        self.assertEqual(columns[2:5], ["2", "1", "2"])  # the pods of before serve at both sites
        self.assertIn("RolloutStopped", self.environment.kubectl("describe", "dg", "shop"))
        good = template("shop:2", progressDeadlineSeconds=None)
        good["template"]["spec"]["readinessGates"] = None
        self.change(template=good)
        self.until("Progressing", "RolloutComplete")
        self.until("Ready", "SitesReady")

    def test_07_a_node_that_comes_and_goes(self) -> None:
        environment = self.environment
        environment.kubectl("apply", "-f", "-", stdin=self.node("gamma", "Site_Gamma"))
        wait_until(lambda: "Site_Gamma" in self.states(), "a third site", 20)
        name = self.states()["Site_Gamma"]["name"]
        wait_until(lambda: name in self.names("deployments"), "its Deployment", 20)
        uid = self.one("deployment", name)["metadata"]["uid"]
        environment.kubectl("delete", "node", "gamma")
        environment.kubectl("apply", "-f", "-", stdin=self.node("gamma", "Site_Gamma"))
        time.sleep(GRACE + 1)
        self.assertEqual(self.one("deployment", name)["metadata"]["uid"], uid)
        environment.kubectl("label", "node", "gamma", f"{KEY}-")
        wait_until(
            lambda: "is removed at" in self.states().get("Site_Gamma", {"message": ""})["message"],
            "a notice",
            20,
        )
        wait_until(lambda: name not in self.names("deployments"), "it goes", GRACE + 20)
        self.assertEqual({"shop-alpha", "shop-beta"}, self.names("deployments"))

    def test_08_another_replica_takes_over(self) -> None:
        environment = self.environment
        before = {item["metadata"]["name"]: item["metadata"]["uid"] for item in self.objects("deployments")}
        self.start_controller(environment, "two")
        wait_until(lambda: self.page("two", "/superedge/status"), "it runs", 20)
        self.assertTrue(self.leads("one") and not self.leads("two"))
        environment.end("one")
        wait_until(lambda: self.leads("two"), "it leads", 30)
        wait_until(lambda: self.synced("two"), "it has read the cluster", 20)
        time.sleep(1)
        self.assertEqual(self.writes("two"), 0)
        self.change(template={"replicas": 1})
        wait_until(lambda: self.one("deployment", "shop-beta")["spec"]["replicas"] == 1, "it works", 20)
        after = {item["metadata"]["name"]: item["metadata"]["uid"] for item in self.objects("deployments")}
        self.assertEqual(before, after)

    def test_09_a_grid_that_is_deleted_takes_its_workloads_along(self) -> None:
        self.environment.kubectl("delete", "dg,sg", "--all", "--cascade=foreground", "--timeout=60s")
        self.assertEqual(self.names("deployments"), set())
        self.assertNotIn("shop-svc", self.names("services"))

    def test_10_workloads_of_the_go_superedge_are_taken_over_as_they_run(self) -> None:
        environment = self.environment
        environment.end("two", signal.SIGKILL)
        for kind, child in (("DeploymentGrid", "Deployment"), ("StatefulSetGrid", "StatefulSet")):
            app, spec = f"old-{child.lower()}", template()
            spec["selector"]["matchLabels"] = spec["template"]["metadata"]["labels"] = {"app": app}
            environment.kubectl("apply", "-f", "-", stdin=grid(kind, app, template=spec))
            uid = self.one(kind, app)["metadata"]["uid"]
            for site in ("alpha", "beta"):
                self._as_the_predecessor(kind, child, app, site, spec, uid)
        apps = "old-deployment", "old-statefulset"
        for app in apps:
            wait_until(lambda app=app: len(self.pods(app)) == 4, f"{app} runs", 60)  # type: ignore[misc]
        before = {app: self.pods(app) for app in apps}
        self.start_controller(environment, "one")
        for what, app in zip(("dg", "ssg"), apps, strict=True):
            self.until("Ready", "SitesReady", what, app)
        time.sleep(2)
        self.assertEqual({app: self.pods(app) for app in apps}, before)
        for what, app in zip(("deployment", "statefulset"), apps, strict=True):
            adopted = self.one(what, f"{app}-alpha")
            self.assertEqual(adopted["metadata"]["labels"]["superedge.io/grid-site"], "alpha")
            self.assertNotIn("superedge.io/grid-site", adopted["spec"]["template"]["metadata"]["labels"])
        self.assertIn(
            "delete deployment old-deployment-alpha", self.states("old-deployment")["alpha"]["message"]
        )

    def _as_the_predecessor(
        self, kind: str, child: str, app: str, site: str, spec: dict[str, Any], uid: str
    ) -> None:
        owner = {
            "apiVersion": "superedge.io/v1", "kind": kind, "name": app, "uid": uid, "controller": True,
            "blockOwnerDeletion": True,
        }  # fmt: skip
        labels = {"superedge.io/grid-selector": app, "superedge.io/grid-uniq-key": KEY.replace("/", "_")}
        pod = {**spec["template"], "spec": {**spec["template"]["spec"], "nodeSelector": {KEY: site}}}
        item = {
            "apiVersion": "apps/v1",
            "kind": child,
            "metadata": {"name": f"{app}-{site}", "labels": labels, "ownerReferences": [owner]},
            "spec": {**spec, "template": pod},
        }
        manager = "--field-manager=application-grid-controller"
        self.environment.kubectl("create", manager, "-f", "-", stdin=json.dumps(item))

    def test_11_its_account_may_do_no_more(self) -> None:
        account = "--as=system:serviceaccount:superedge:superedge-cloud"
        crds, lease = "customresourcedefinitions.apiextensions.k8s.io", "leases.coordination.k8s.io"
        for verb, what, *more in (
            ("list", "pods"), ("create", "pods"), ("get", "secrets"), ("list", "secrets", "-n", "superedge"),
            ("patch", "nodes"), ("delete", "nodes"), ("delete", "services"), ("create", "daemonsets.apps"),
            ("delete", "deploymentgrids.superedge.io"), ("create", "deploymentgrids.superedge.io"),
            ("patch", "servicegrids.superedge.io"), ("delete", crds), ("update", crds),
            ("update", lease, "-n", "kube-system"), ("update", lease, "-n", "superedge"),
            ("list", "configmaps"), ("create", "clusterrolebindings.rbac.authorization.k8s.io"),
            ("impersonate", "users"), ("create", "serviceaccounts/token"),
        ):  # fmt: skip
            said = self.environment.try_kubectl("auth", "can-i", verb, what, *more, account).stdout.strip()
            self.assertEqual(said, "no", f"{verb} {what} {more}")


_KINDS = ("deployment", "statefulset", "service")
