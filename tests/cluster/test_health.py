"""Edge health as a whole: sites that lose the cloud, nodes, and each other, on a real control plane.

Each story has a site of its own; those that leave the cloud alone run side by side. All sites have the same
addresses.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import yaml
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from tests.cluster.edgenodes import CLOUD
from tests.cluster.edgesites import DEPLOY, EdgeSites, seconds_until
from tests.cluster.environment import SKIP, wait_until
from tests.cluster.forwarder import Forwarder

DEAD = ("superedge.io/dead", "NoExecute")
EVICTED = ("node.kubernetes.io/unreachable", "NoExecute")
UNSCHEDULED = ("node.kubernetes.io/unreachable", "NoSchedule")
WEBHOOK_PORT = 51006
REPLICA_PORTS = (51007, 51008)
WEBHOOK = f"""[edge_admission.webhook]
listen = "{CLOUD}:{{port}}"
names = ["{CLOUD}"]
"""
_log = Logger()
GRACE, TOLERATION = 20, 20


class _Story:
    """What happened on one site, in a thread of its own."""

    def __init__(self, sites: EdgeSites) -> None:
        self.sites = sites
        self.toleration = sites.toleration

    def through(self, seconds: float, holds: Callable[[], bool], what: str) -> None:
        """It is true all the time."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not holds():
                raise AssertionError(f"{what}: not {time.monotonic() - end + seconds:.0f} s later")
            time.sleep(0.5)

    def unready(self, *names: str) -> None:
        for name in names:
            wait_until(lambda name=name: self.sites.ready(name) == "Unknown", f"{name} is lost", GRACE + 15)  # type: ignore[misc]

    def kept(self, app: str, before: set[str]) -> bool:
        """The same pods, all of them ready endpoints."""
        return set(self.sites.pods(app)) == before == set(self.sites.endpoints(app))

    def entries(self) -> dict[str, str]:
        done = self.sites.try_kubectl(
            "-n", "superedge", "get", "configmap", "superedge-kept-nodes", "-o", "json"
        )
        found: dict[str, str] = json.loads(done.stdout).get("data", {}) if done.returncode == 0 else {}
        return found

    # -- the stories

    def cut(self) -> None:
        """(a) A node loses only the cloud."""
        sites = self.sites
        node, before = sites.nodes["alpha-1"], set(sites.pods("alpha"))
        node.cut_cloud()
        self.unready("alpha-1")
        self.through(self.toleration + 15, lambda: self.kept("alpha", before), "the pods of a cut node stay")
        assert UNSCHEDULED in sites.taints("alpha-1") and EVICTED not in sites.taints("alpha-1")
        assert sites.condition("alpha-1", "EdgePeerHealthy") == "True"
        node.join_cloud()
        wait_until(lambda: sites.ready("alpha-1") == "True", "it is back", 30)
        wait_until(lambda: not sites.taints("alpha-1"), "no taint is left", 20)
        wait_until(lambda: "alpha-1" not in self.entries(), "no entry is left", 20)
        assert self.kept("alpha", before)

    def death(self) -> dict[str, float]:
        """(b) A node dies."""
        sites = self.sites
        victim, started = sites.nodes["beta-1"], time.monotonic()
        victim.die()
        times = {"verdict": seconds_until(lambda: sites.verdicts("beta-1") == {"dead"}, "verdict", 30)}
        wait_until(lambda: DEAD in sites.taints("beta-1"), "it is evicted", 30)
        times["evicted"] = time.monotonic() - started

        def replaced() -> bool:
            nodes = list(sites.endpoints("beta").values())
            return len(nodes) == 4 and "beta-1" not in nodes

        wait_until(replaced, "a replacement runs", 30)
        times["replaced"] = time.monotonic() - started
        assert sites.condition("beta-1", "EdgePeerHealthy") == "False"
        assert sites.node("beta-1")["metadata"]["annotations"]["nodeunhealth"] == "yes"
        victim.revive()
        wait_until(lambda: sites.ready("beta-1") == "True", "it is back", 60)
        wait_until(lambda: DEAD not in sites.taints("beta-1"), "its taint is gone", 30)
        wait_until(lambda: sites.verdicts("beta-1") == {"alive"}, "it is alive", 30)
        wait_until(
            lambda: "nodeunhealth" not in sites.node("beta-1")["metadata"]["annotations"], "no annotation", 20
        )
        return times

    def whole_site(self) -> None:
        """(c) A whole site loses the cloud."""
        sites = self.sites
        before, names = set(sites.pods("gamma")), ["gamma-1", "gamma-2", "gamma-3"]
        for name in names:
            sites.nodes[name].cut_cloud()
        self.unready(*names)
        wait_until(lambda: sites.verdicts(*names) == {"unknown"}, "nobody speaks of them", 60)
        self.through(self.toleration + 10, lambda: self.kept("gamma", before), "the pods of a cut site stay")
        for name in names:
            sites.nodes[name].join_cloud()
        wait_until(lambda: sites.verdicts(*names) == {"alive"}, "they are back", 40)
        self.wrong_clocks()

    def split(self) -> None:
        """(d) A site splits in two; one half has the cloud, then the other gets it, too."""
        sites = self.sites
        far = [sites.nodes[name] for name in ("delta-3", "delta-4")]
        before = set(sites.pods("delta"))
        sites.part("delta", far)
        self.through(30, lambda: self.kept("delta", before), "both halves have the cloud: nobody is evicted")
        sites.heal("delta", far)
        wait_until(
            lambda: sites.verdicts("delta-1", "delta-2", "delta-3", "delta-4") == {"alive"}, "it is whole", 30
        )
        self.left_behind()

    def split_without_cloud(self) -> None:
        """(d) The half of a split site that has no cloud either is replaced by the other; both ways round.

        Two witnesses that have the cloud suffice. One does not: it cannot tell whether it is itself cut off.
        """
        sites = self.sites
        names = [f"sigma-{number}" for number in range(1, 5)]
        nodes = [sites.nodes[name] for name in names]
        for lost, left in ((nodes[2:], names[:2]), (nodes[:2], names[2:])):
            sites.part("sigma", nodes[2:])
            for node in lost:
                node.cut_cloud()
            for node in lost:
                wait_until(lambda node=node: DEAD in sites.taints(node.name), f"{node.name} is evicted", 40)  # type: ignore[misc]
            wait_until(lambda left=left: self.all_on("sigma", left), "the half with the cloud has all", 30)  # type: ignore[misc]
            assert not any(DEAD in sites.taints(name) for name in left)
            sites.heal("sigma", nodes[2:])
            for node in lost:
                node.join_cloud()
            wait_until(lambda: sites.verdicts(*names) == {"alive"}, "it is whole", 40)
            wait_until(lambda: not any(sites.taints(name) for name in names), "no taint is left", 30)
        before = set(sites.pods("sigma"))
        sites.part("sigma", nodes[1:])
        for node in nodes[1:]:
            node.cut_cloud()
        self.unready(*names[1:])
        self.through(self.toleration + 5, lambda: self.kept("sigma", before), "three of whom one node speaks")

    def all_on(self, app: str, names: list[str]) -> bool:
        """Four endpoints, all on these nodes."""
        found = list(self.sites.endpoints(app).values())
        return len(found) == 4 and set(found) <= set(names)

    def two_nodes(self) -> None:
        """(e) A site of two: one is cut and kept; then it dies."""
        sites = self.sites
        node, before = sites.nodes["two-1"], set(sites.pods("two"))
        node.cut_cloud()
        self.unready("two-1")
        self.through(self.toleration + 5, lambda: self.kept("two", before), "a cut node of two is kept")
        node.die()
        wait_until(lambda: DEAD in sites.taints("two-1"), "its one witness suffices", 30)
        wait_until(lambda: list(sites.endpoints("two").values()) == ["two-2", "two-2"], "it is replaced", 20)

    def one_node(self) -> None:
        """(e) A site of one: what nobody can know is kept, as long as its annotation says."""
        sites = self.sites
        node, before = sites.nodes["one-1"], set(sites.pods("one"))
        sites.kubectl("annotate", "node", "one-1", "superedge.io/keep-unknown=45s")
        node.cut_cloud()
        self.unready("one-1")
        self.through(15, lambda: self.kept("one", before), "it is kept")
        wait_until(lambda: EVICTED in sites.taints("one-1"), "it is not kept for ever", 90)
        wait_until(lambda: not before & set(sites.pods("one")), "and then evicted", 30)

    def zone(self) -> float:
        """(j) Five of six nodes of a zone are cut and kept; the sixth dies."""
        sites = self.sites
        cut = [f"eta-{number}" for number in range(1, 6)]
        for name in cut:
            sites.nodes[name].cut_cloud()
        self.unready(*cut)
        before = {name for name, node in sites.endpoints("eta").items() if node != "eta-6"}
        started = time.monotonic()
        sites.nodes["eta-6"].die()

        def replaced() -> bool:
            found = sites.endpoints("eta")
            return "eta-6" not in found.values() and len(found) == 7

        wait_until(replaced, "the dead one among the cut is replaced", 40)
        taken = time.monotonic() - started
        self.through(self.toleration, lambda: before <= set(sites.endpoints("eta")), "the cut ones are kept")
        for name in cut:
            sites.nodes[name].join_cloud()
        return taken

    def flapping(self) -> int:
        """(i) Twenty cuts of five seconds."""
        sites = self.sites
        node, before = sites.nodes["theta-1"], set(sites.pods("theta"))
        count = sites.writes("theta-1")
        for _ in range(20):
            node.cut_cloud()
            time.sleep(5)
            node.join_cloud()
            time.sleep(0.7)
        wait_until(lambda: self.kept("theta", before), "its pod is where it was, and ready", 20)
        wait_until(lambda: "theta-1" not in self.entries(), "no entry is left", 20)
        return sites.writes("theta-1") - count

    def wrong_clocks(self) -> None:
        """(l) Its nodes count again once they have contact, whatever their clocks say."""
        sites = self.sites
        nodes = [sites.nodes[f"gamma-{number}"] for number in (1, 2, 3)]
        for node in nodes:
            node.cut_cloud()
            node.kill("edge")
        for node, wrong in zip(nodes, (3600.0, 3600.0, -200.0), strict=True):
            node.start_edge(wrong)
        wait_until(lambda: all(node.status().get("members") for node in nodes), "they know their unit", 30)
        nodes[0].join_cloud()
        names = [node.name for node in nodes]
        wait_until(lambda: sites.verdicts(*names) == {"alive"}, "one contact is enough for all", 60)
        for node in nodes:
            node.join_cloud()

    def left_behind(self) -> None:
        """(h) An old annotation, an old taint and an old entry."""
        sites = self.sites
        sites.kubectl("annotate", "node", "delta-1", "nodeunhealth=yes", "--overwrite")
        old = {"data": {"delta-2": "2026-01-01T00:00:00Z"}}
        sites.kubectl("-n", "superedge", "patch", "configmap", "superedge-kept-nodes", "-p", json.dumps(old))
        sites.kubectl("taint", "node", "delta-3", "superedge.io/dead:NoExecute", "--overwrite")
        wait_until(lambda: DEAD not in sites.taints("delta-3"), "the old taint goes", 30)
        wait_until(
            lambda: "nodeunhealth" not in sites.node("delta-1")["metadata"]["annotations"],
            "the old word goes",
            30,
        )
        wait_until(lambda: len(sites.endpoints("delta")) == 4, "its pods run", 30)
        before = set(sites.pods("delta"))
        sites.nodes["delta-1"].cut_cloud()
        self.unready("delta-1")
        self.through(10, lambda: self.kept("delta", before), "a cut node is kept")
        sites.nodes["delta-1"].join_cloud()
        sites.nodes["delta-2"].die()
        wait_until(lambda: DEAD in sites.taints("delta-2"), "an old entry protects no dead node", 40)

    def native_death(self) -> float:
        """(b) A node dies, with failover = "native": tolerations count from when Ready is Unknown."""
        sites, started = self.sites, time.monotonic()
        sites.nodes["beta-1"].die()
        wait_until(lambda: sites.verdicts("beta-1") == {"dead"}, "it is dead", 30)
        wait_until(lambda: EVICTED in sites.taints("beta-1"), "the cluster's own taint", GRACE + 20)
        assert DEAD not in sites.taints("beta-1")

        def replaced() -> bool:
            nodes = list(sites.endpoints("beta").values())
            return len(nodes) == 4 and "beta-1" not in nodes

        wait_until(replaced, "a replacement runs", self.toleration + 30)
        return time.monotonic() - started


class _Current:
    """The class whose cluster runs: the next class ends it, or the end of the run."""

    owner: type[HealthStories] | None = None

    def of(self, case: type[HealthStories]) -> None:
        """Begin what the class needs, for the first of its tests."""
        if self.owner is not case:
            self.end()
            self.owner = case
            case.begin()

    def end(self) -> None:
        """End it."""
        owner, self.owner = self.owner, None
        if owner is not None and hasattr(owner, "sites"):
            owner.end()


_current = _Current()
atexit.register(_current.end)


class HealthStories(SynchronousTestCase):
    """A cluster with its sites; `parallel` are the stories that leave the cloud alone, by name."""

    skip = SKIP
    enforcement: ClassVar[str]
    failover: ClassVar[str] = "fast"
    replicas: ClassVar[int] = 1
    toleration: ClassVar[int] = TOLERATION
    units: ClassVar[dict[str, int]]
    """Sites and their nodes."""
    parallel: ClassVar[tuple[str, ...]]
    sites: ClassVar[EdgeSites]
    story: ClassVar[_Story]
    stories: ClassVar[dict[str, Future[Any]]]

    def setUp(self) -> None:
        _current.of(type(self))

    @classmethod
    def begin(cls) -> None:
        """A cluster of the class's own, with all stories under way."""
        directory = Path(tempfile.mkdtemp(prefix="superedge-health-"))
        cls.sites = sites = EdgeSites(directory, toleration=cls.toleration, replicas=cls.replicas)
        sites.up()
        cls.install()
        common = f'enforcement = "{cls.enforcement}"\nfailover = "{cls.failover}"\n'
        sites.start_cloud(*(common + WEBHOOK.format(port=port) for port in REPLICA_PORTS[: cls.replicas]))
        for unit, count in cls.units.items():
            sites.add(unit, *range(1, count + 1))
        if "eta" in cls.units:
            sites.add("eta", 7, zone="other")
        sites.wait_ready(150)
        for unit, count in cls.units.items():
            sites.deploy(unit, count + (unit in ("one", "eta")), unit)
        wait_until(lambda: sites.status().get("enforcement_fault") == "", "the enforcement is proven", 60)
        cls.story = story = _Story(sites)
        threads = ThreadPoolExecutor(16)
        cls.stories = {name: threads.submit(getattr(story, name)) for name in cls.parallel}

    @classmethod
    def install(cls) -> None:
        """Apply the enforcement's manifest."""
        cls.sites.kubectl("apply", "-f", str(DEPLOY / "health-policy.yaml"))

    @classmethod
    def end(cls) -> None:
        """Stop what runs."""
        if os.environ.get("SUPEREDGE_KEEP"):
            shutil.copytree(cls.sites.directory, os.environ["SUPEREDGE_KEEP"], dirs_exist_ok=True)
        cls.sites.stop()
        shutil.rmtree(cls.sites.directory, ignore_errors=True)

    def told(self, name: str) -> Any:
        return self.stories[name].result(400)


class PolicyStories(HealthStories):
    """With the API server itself as enforcement."""

    enforcement = "policy"
    units = {
        "alpha": 4, "beta": 4, "gamma": 3, "delta": 4, "two": 2, "one": 1, "theta": 3, "eta": 6,
        "sigma": 4,
    }  # fmt: skip
    parallel = (
        "cut", "death", "whole_site", "split", "split_without_cloud", "two_nodes", "one_node", "zone",
        "flapping",
    )  # fmt: skip

    def test_01_a_node_that_loses_only_the_cloud_is_kept(self) -> None:
        self.told("cut")

    def test_02_a_dead_node_is_replaced(self) -> None:
        times = self.told("death")
        for what, seconds in times.items():
            _log.info("{what} after {seconds:.1f} s", what=what, seconds=seconds)
        self.assertLess(times["verdict"], 15)
        self.assertLess(times["replaced"], 25)

    def test_03_a_site_that_loses_the_cloud_is_kept(self) -> None:
        self.told("whole_site")

    def test_04_a_site_that_splits_loses_nobody(self) -> None:
        self.told("split")
        self.told("split_without_cloud")

    def test_05_a_site_of_two(self) -> None:
        self.told("two_nodes")

    def test_06_a_site_of_one(self) -> None:
        self.told("one_node")

    def test_07_the_dead_one_among_the_cut(self) -> None:
        self.assertLess(self.told("zone"), 25)

    def test_08_short_cuts_change_nothing(self) -> None:
        self.assertLess(self.told("flapping"), 5)

    def test_09_a_late_verdict_is_mended(self) -> None:
        """(k) The cloud end is down when Ready turns Unknown."""
        sites, story = self.sites, self.story
        before = set(sites.pods("alpha"))
        self.assertIn("alpha-2", sites.endpoints("alpha").values())
        sites.stop_cloud()
        sites.nodes["alpha-2"].cut_cloud()
        wait_until(lambda: EVICTED in sites.taints("alpha-2"), "the cluster has its way", GRACE + 20)
        wait_until(lambda: "alpha-2" not in sites.endpoints("alpha").values(), "its pods are not ready", 15)
        sites.start_cloud()
        wait_until(lambda: EVICTED not in sites.taints("alpha-2"), "the taint is taken away", TOLERATION)
        wait_until(lambda: story.kept("alpha", before), "the pod is ready again", 20)
        story.through(10, lambda: story.kept("alpha", before), "it stays so")

    def test_10_the_judge_and_the_api_server_go_and_come(self) -> None:
        """(f) While a node is kept."""
        sites, story = self.sites, self.story
        before = set(sites.pods("alpha"))
        sites.stop_cloud(signal.SIGKILL)
        sites.cluster.stop("kube-apiserver")
        sites.cluster.start("kube-apiserver")
        sites.cluster.wait_until_ready()
        sites.start_cloud()
        wait_until(lambda: sites.verdicts("alpha-2") == {"alive"}, "it is judged again", 60)
        story.through(TOLERATION, lambda: story.kept("alpha", before), "nothing happens to its pods")

    def test_11_without_the_policy_the_cluster_does_as_ever(self) -> None:
        """(f) And the process says so."""
        sites = self.sites
        before = set(sites.pods("alpha"))
        sites.kubectl("delete", "-f", str(DEPLOY / "health-policy.yaml"))
        wait_until(lambda: not before <= set(sites.pods("alpha")), "its pod is evicted", TOLERATION + 40)
        assert EVICTED in sites.taints("alpha-2")
        wait_until(
            lambda: "is not removed from a kept node" in sites.status().get("enforcement_fault", ""),
            "a fault",
            20,
        )
        sites.nodes["alpha-2"].join_cloud()
        wait_until(lambda: sites.ready("alpha-2") == "True" and not sites.taints("alpha-2"), "it is back", 90)

    def test_12_its_account_may_do_no_more(self) -> None:
        """Least rights, as the API server itself has them; that they suffice all above has shown."""
        account = "--as=system:serviceaccount:superedge:superedge-cloud"
        for verb, what, *more in (
            ("delete", "nodes"), ("create", "nodes"), ("update", "nodes"),
            ("update", "nodes", "--subresource=status"),
            ("get", "pods"), ("watch", "pods"), ("patch", "pods"), ("delete", "pods"), ("create", "pods"),
            ("update", "pods", "--subresource=status"), ("create", "pods", "--subresource=eviction"),
            ("create", "pods", "--subresource=exec"), ("get", "secrets", "-n", "superedge"),
            ("list", "secrets"),
            ("get", "configmaps", "-n", "kube-system"), ("patch", "leases", "-n", "kube-node-lease"),
            ("create", "events", "-n", "kube-system"), ("patch", "deployments.apps"),
            ("patch", "mutatingadmissionpolicies.admissionregistration.k8s.io"),
            ("get", "mutatingwebhookconfigurations.admissionregistration.k8s.io"),
            ("create", "clusterrolebindings.rbac.authorization.k8s.io"), ("impersonate", "users"),
        ):  # fmt: skip
            said = self.sites.try_kubectl("auth", "can-i", verb, what, *more, account).stdout.strip()
            self.assertEqual(said, "no", f"{verb} {what} {more}")


class WebhookStories(HealthStories):
    """With the webhook as enforcement, evictions the native way, and two replicas of the cloud end."""

    enforcement = "webhook"
    failover = "native"
    replicas = 2
    toleration = 30
    """More than a new judge takes to lead and to mend."""
    units = {"alpha": 3, "beta": 4}
    parallel = ("cut", "native_death")
    service: ClassVar[Forwarder]

    @classmethod
    def install(cls) -> None:
        """The manifest, with a forwarder as the Service."""
        cls.service = Forwarder((CLOUD, WEBHOOK_PORT), *((CLOUD, port) for port in REPLICA_PORTS))
        for item in yaml.safe_load_all((DEPLOY / "health-webhook.yaml").read_text()):
            for hook in item.get("webhooks", ()):
                hook["clientConfig"] = {"url": f"https://{CLOUD}:{WEBHOOK_PORT}/keep"}
            cls.sites.kubectl("apply", "-f", "-", stdin=json.dumps(item))

    @classmethod
    def end(cls) -> None:
        """Stop what runs."""
        super().end()
        cls.service.stop()

    def test_01_a_node_that_loses_only_the_cloud_is_kept(self) -> None:
        self.told("cut")

    def test_02_a_dead_node_is_replaced(self) -> None:
        _log.info("replaced after {seconds:.1f} s", seconds=self.told("native_death"))

    def test_03_another_replica_judges_when_the_judge_dies(self) -> None:
        """(f) It opens streams to all nodes, over links to those that the other replica holds.

        The Service leads to the dead replica until another judges: what Kubernetes did by then is mended.
        """
        sites, story = self.sites, self.story
        before, names = set(sites.pods("alpha")), [node.name for node in sites.nodes.values()]
        sites.nodes["alpha-2"].cut_cloud()
        story.unready("alpha-2")
        first = sites.judge()
        assert first is not None
        dead, living = REPLICA_PORTS if first is sites.ends[0] else reversed(REPLICA_PORTS)
        self.service.lead_to((CLOUD, dead))
        first.stop(signal.SIGKILL)
        wait_until(lambda: EVICTED in sites.taints("alpha-2"), "nobody answers reviews", 15)
        wait_until(lambda: sites.judge() not in (None, first), "another judges", 40)
        self.service.lead_to((CLOUD, living))
        wait_until(lambda: EVICTED not in sites.taints("alpha-2"), "the taint is taken away", 8)
        alive = [name for name in names if name != "beta-1"]
        wait_until(lambda: sites.verdicts(*alive) == {"alive"}, "it knows all of them", 40)
        story.through(10, lambda: story.kept("alpha", before), "the cut node is kept all the while")
        sites.start_cloud()
        sites.nodes["alpha-2"].join_cloud()
        wait_until(lambda: sites.ready("alpha-2") == "True" and not sites.taints("alpha-2"), "it is back", 90)

    def test_04_without_the_webhook_nothing_is_blocked(self) -> None:
        """(f) The process is away: the cluster does as ever, and no slower."""
        sites = self.sites
        sites.stop_cloud(signal.SIGKILL)
        sites.nodes["alpha-3"].cut_cloud()
        wait_until(lambda: EVICTED in sites.taints("alpha-3"), "the taint comes", GRACE + 20)
        started = time.monotonic()
        sites.kubectl("label", "node", "alpha-1", "written=yes", "--overwrite")
        self.assertLess(time.monotonic() - started, 5)
