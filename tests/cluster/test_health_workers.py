"""Edge health on real kubelets and containers: one node loses the cloud, two others die."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from tests.cluster.edgenodes import RealNode
from tests.cluster.edgesites import DEPLOY, EdgeSites, seconds_until
from tests.cluster.environment import SKIP, wait_until
from tests.controlplane.worker import IMAGE

LEASE, GRACE, TOLERATION = 12, 14, 5
DEAD = ("superedge.io/dead", "NoExecute")
EVICTED = ("node.kubernetes.io/unreachable", "NoExecute")
SERVER = {
    "name": "main",
    "image": IMAGE,
    "imagePullPolicy": "Never",
    "command": ["sh", "-c", "echo served > /tmp/page; exec httpd -f -p 8080 -h /tmp"],
    "readinessProbe": {"httpGet": {"port": 8080, "path": "/page"}, "periodSeconds": 1},
}
_log = Logger()


class RealKubeletTests(SynchronousTestCase):
    """Four nodes of one site, each with one pod of a Deployment at first."""

    skip = SKIP

    def setUp(self) -> None:
        directory = Path(tempfile.mkdtemp(prefix="superedge-health-"))
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        self.sites = sites = EdgeSites(directory, lease=LEASE, grace=GRACE, toleration=TOLERATION)
        self.addCleanup(sites.stop)
        sites.up()
        sites.kubectl("apply", "-f", str(DEPLOY / "health-policy.yaml"))
        sites.start_cloud('failover = "native"\n')
        sites.add("real", 1, 2, 3, 4, kind=RealNode)
        sites.wait_ready(90)
        sites.deploy("real", 4, "real", containers=[SERVER])
        wait_until(lambda: sites.status().get("enforcement_fault") == "", "the enforcement is proven", 60)

    def served(self, node: str, address: str) -> bool:
        page = f"http://{address}:8080/page"
        return self.sites.nodes[node].run("curl", "-s", "-m", "2", page).stdout == "served\n"

    def on(self, node: str) -> dict[str, str]:
        """The pods of a node that are not on their way out, and their addresses."""
        pods = self.sites.pods("real").items()
        return {name: pod["status"]["podIP"] for name, pod in pods if pod["spec"]["nodeName"] == node}

    def replaced(self, node: str) -> Callable[[], bool]:
        def found() -> bool:
            nodes = self.sites.endpoints("real").values()
            return len(nodes) == 4 and node not in nodes

        return found

    def dies(self, node: str, taint: tuple[str, str], failover: str) -> None:
        """Until its pod is replaced; the times are logged."""
        sites, started = self.sites, time.monotonic()
        with ThreadPoolExecutor(1) as hand:
            hand.submit(sites.nodes[node].die)
            verdict = seconds_until(lambda: sites.verdicts(node) == {"dead"}, "it is held dead", 20)
            wait_until(lambda: taint in sites.taints(node), f"{node} is evicted", GRACE + 15)
            evicted = time.monotonic() - started
            wait_until(self.replaced(node), "a replacement runs", TOLERATION + 15)
        _log.info(
            "{failover}: dead after {verdict:.1f}, evicted {evicted:.1f}, replaced {replaced:.1f} seconds",
            failover=failover,
            verdict=verdict,
            evicted=evicted,
            replaced=time.monotonic() - started,
        )

    def test_the_cut_one_serves_and_the_dead_are_replaced(self) -> None:
        sites = self.sites
        ((pod, address),) = self.on("real-1").items()
        sites.nodes["real-1"].cut_cloud()
        started = time.monotonic()
        self.dies("real-2", EVICTED, "native")
        wait_until(lambda: sites.ready("real-1") == "Unknown", "the cut node is lost", GRACE + 10)

        def kept() -> bool:
            ready = sites.endpoints("real").get(pod) == "real-1" and pod in sites.pods("real")
            return ready and self.served("real-1", address)

        while time.monotonic() - started < GRACE + TOLERATION + 10:
            self.assertTrue(kept(), "the pod of a cut node runs, is an endpoint, and serves")
            time.sleep(1)
        self.assertNotIn(EVICTED, sites.taints("real-1"))
        sites.stop_cloud()
        sites.start_cloud('failover = "fast"\n')
        wait_until(lambda: sites.status().get("enforcement_fault") == "", "the enforcement is proven", 30)
        self.dies("real-3", DEAD, "fast")
        self.assertTrue(kept(), "and after all that")
        containers = sites.nodes["real-1"]
        assert isinstance(containers, RealNode)
        self.assertEqual(containers.worker.running(), 2 * len(self.on("real-1")))
        containers.join_cloud()
        wait_until(lambda: sites.ready("real-1") == "True" and not sites.taints("real-1"), "it is back", 30)
        self.assertIn(pod, self.on("real-1"))
