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
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import yaml
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from tests.cluster.edgenodes import CLOUD
from tests.cluster.edgesites import DEPLOY, EdgeSites
from tests.cluster.environment import SKIP, wait_until
from tests.cluster.forwarder import Forwarder
from tests.cluster.healthstories import EVICTED, PATIENCE, Story

WEBHOOK_PORT = 51006
REPLICA_PORTS = (51007, 51008)
WEBHOOK = f"""[edge_admission.webhook]
listen = "{CLOUD}:{{port}}"
names = ["{CLOUD}"]
"""
_log = Logger()
GRACE, TOLERATION = 20, 20
LONGEST = 900.0
"""Seconds that the stories of a class take at most."""


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
    story: ClassVar[Story]
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
        sites.wait_ready(300)
        for unit, count in cls.units.items():
            sites.deploy(unit, count + (unit in ("one", "eta")), unit)
            wait_until(partial(cls.spread, unit), f"each node of {unit} has a pod", PATIENCE)
        wait_until(lambda: sites.status().get("enforcement_fault") == "", "enforcement is proven", PATIENCE)
        cls.story = story = Story(sites)
        threads = ThreadPoolExecutor(16)
        cls.stories = {name: threads.submit(getattr(story, name)) for name in cls.parallel}
        # The tests that meddle with the cloud come after them, whichever test is run first or alone.
        wait(cls.stories.values(), LONGEST)

    @classmethod
    def spread(cls, unit: str) -> bool:
        """Whether each node of a unit has a pod of its own; otherwise the pods are made again."""
        sites = cls.sites
        nodes = {node.name for node in sites.nodes.values() if node.site == unit}
        if set(sites.endpoints(unit).values()) == nodes:
            return True
        sites.kubectl("delete", "pods", "-l", f"app={unit}")
        count = sites.get("deployment", unit)["spec"]["replicas"]
        wait_until(lambda: len(sites.endpoints(unit)) == count, f"{unit} runs again", PATIENCE)
        return False

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
        """What a story returned; its failure is the test's."""
        return self.stories[name].result(0)


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
        for what, seconds in self.told("death").items():
            _log.info("{what} after {seconds:.1f} s", what=what, seconds=seconds)

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
        _log.info("replaced after {seconds:.1f} s", seconds=self.told("zone"))

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
        wait_until(lambda: not before <= set(sites.pods("alpha")), "its pod is evicted", PATIENCE)
        assert EVICTED in sites.taints("alpha-2")
        wait_until(
            lambda: "is not removed from a kept node" in sites.status().get("enforcement_fault", ""),
            "a fault",
            PATIENCE,
        )
        sites.nodes["alpha-2"].join_cloud()
        wait_until(
            lambda: sites.ready("alpha-2") == "True" and not sites.taints("alpha-2"), "it is back", PATIENCE
        )

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
    toleration = 45
    """Far more than a new judge takes to lead and to mend."""
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
        wait_until(lambda: EVICTED in sites.taints("alpha-2"), "nobody answers reviews", PATIENCE)
        wait_until(lambda: sites.judge() not in (None, first), "another judges", PATIENCE)
        self.service.lead_to((CLOUD, living))
        wait_until(lambda: EVICTED not in sites.taints("alpha-2"), "the taint is taken away", PATIENCE)
        alive = [name for name in names if name != "beta-1"]
        wait_until(lambda: sites.verdicts(*alive) == {"alive"}, "it knows all of them", PATIENCE)
        story.through(10, lambda: story.kept("alpha", before), "the cut node is kept all the while")
        sites.start_cloud()
        sites.nodes["alpha-2"].join_cloud()
        wait_until(
            lambda: sites.ready("alpha-2") == "True" and not sites.taints("alpha-2"), "it is back", PATIENCE
        )

    def test_04_without_the_webhook_nothing_is_blocked(self) -> None:
        """(f) The process is away: the cluster does as ever."""
        sites = self.sites
        sites.stop_cloud(signal.SIGKILL)
        sites.nodes["alpha-3"].cut_cloud()
        wait_until(lambda: EVICTED in sites.taints("alpha-3"), "the taint comes", PATIENCE)
        sites.kubectl("label", "node", "alpha-1", "written=yes", "--overwrite")
