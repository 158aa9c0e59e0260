"""The service: the Lease, the CRDs, and when it controls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast
from unittest import mock

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.grid import ApplicationGridConfig
from superedge.config.kubernetes import KubernetesConfig
from superedge.config.ops import OpsConfig
from superedge.config.root import Config
from superedge.errors import SuperEdgeError
from superedge.grid.cloud import service
from superedge.grid.cloud.crds import crds
from superedge.grid.cloud.installing import install
from superedge.grid.cloud.service import ApplicationGrid
from superedge.interfaces import IReactor
from superedge.kube.errors import Unavailable
from superedge.kube.leaderelection import DEADLINE
from superedge.tap.compose import compose
from superedge.testing.inprocess import InProcessAPI
from superedge.tls.authority import Authority
from tests.grid.controlled import KEY, pods

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


class ServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.api = InProcessAPI(self.clock)
        for name in ("superedge", "shops"):
            self.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        self.call("POST", "/api/v1/nodes", {"metadata": {"name": "n", "labels": {KEY: "a"}}})

    def call(self, method: str, path: str, body: Any = None) -> Any:
        done = Deferred.fromCoroutine(self.api.client().call(method, path, body=body))
        for _ in range(4):
            self.clock.advance(0)
        return json.loads(self.successResultOf(done))

    def run_for(self, seconds: float) -> None:
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)

    def replica(self) -> ApplicationGrid:
        config = ApplicationGridConfig(install_crds=True)
        made = ApplicationGrid(cast(IReactor, self.clock), config, self.api.client(), "superedge")
        made.startService()
        self.addCleanup(self.stop, made)
        self.run_for(2)
        return made

    def stop(self, replica: ApplicationGrid) -> None:
        done: Deferred[Any] | None = replica.stopService() if replica.running else None
        self.run_for(2)
        if done is not None:
            self.successResultOf(done)

    def make_grid(self) -> None:
        spec = {"gridUniqKey": KEY, "template": pods()}
        item = {"metadata": {"name": "shop"}, "spec": spec}
        self.call("POST", "/apis/superedge.io/v1/namespaces/shops/deploymentgrids", item)
        self.run_for(2)

    def names(self) -> list[str]:
        items = self.call("GET", "/apis/apps/v1/namespaces/shops/deployments")["items"]
        return [item["metadata"]["name"] for item in items]

    def test_it_installs_and_controls(self) -> None:
        replica = self.replica()
        self.assertEqual(len(self.call("GET", CRDS)["items"]), 3)
        self.assertTrue(replica.status()["synced"])
        self.make_grid()
        self.assertEqual(self.names(), ["shop-a"])
        self.assertEqual(replica.status()["grids"]["DeploymentGrid shops/shop"]["sites"], 1)

    def test_an_error_that_nobody_expected_at_the_start_is_not_the_end(self) -> None:
        faults = [ZeroDivisionError()]

        async def failing(*arguments: Any) -> None:
            if faults:
                raise faults.pop()
            await install(*arguments)

        self.patch(service, "install", failing)
        replica = self.replica()
        self.run_for(2)
        self.assertTrue(replica.status()["synced"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_replica_that_was_paused_writes_nothing(self) -> None:
        service = self.replica()
        self.clock.advance(DEADLINE)
        path = "/api/v1/namespaces/shops/services"
        late = service._client.call("POST", path, body={"metadata": {"name": "late"}})
        self.failureResultOf(Deferred.fromCoroutine(late), Unavailable)

    def test_it_is_not_ready_without_the_rights_it_needs(self) -> None:
        self.api.refused = ("/leases",)
        config = ApplicationGridConfig(install_crds=True)
        grid = ApplicationGrid(cast(IReactor, self.clock), config, self.api.client(), "superedge")
        grid.startService()
        self.addCleanup(self.stop, grid)
        for part, reason in (
            ("/leases", "Lease superedge-application-grid: 403 Forbidden"),
            ("/customresourcedefinitions", "the CRDs"),
            ("/api/v1/nodes", "/api/v1/nodes: 403 Forbidden"),
        ):
            self.api.refused = (part,)
            self.run_for(15)
            self.assertIn(f"the application grid: {reason}", grid.waits_for())
        self.assertEqual(len(grid.status()["problems"]), 1)
        self.api.refused = ()
        self.run_for(15)
        self.assertEqual(grid.waits_for(), "")
        other = self.replica()
        self.run_for(3)
        self.assertEqual(other.waits_for(), "")  # the first one leads
        self.api.available = False
        self.run_for(30)
        self.assertEqual(grid.waits_for(), "")  # the tunnel of the same process goes on

    def test_what_is_installed_is_not_written_again_but_when_it_is_older(self) -> None:
        self.stop(self.replica())
        before = self.api.writes["customresourcedefinitions"]
        self.stop(self.replica())
        self.assertEqual(self.api.writes["customresourcedefinitions"], before)
        name = crds()[0]["metadata"]["name"]
        there = self.call("GET", f"{CRDS}/{name}")
        there["metadata"]["annotations"] = {"mine": "yes"}
        there["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"][
            "old"
        ] = {}
        self.call("PUT", f"{CRDS}/{name}", there)
        self.replica()
        there = self.call("GET", f"{CRDS}/{name}")
        self.assertEqual(there["spec"], crds()[0]["spec"])
        self.assertEqual(there["metadata"]["annotations"]["mine"], "yes")

    def test_one_of_two_controls_and_the_other_follows(self) -> None:
        one = self.replica()
        two = self.replica()
        self.assertEqual((one.status()["leading"], two.status()["leading"]), (True, False))
        self.stop(one)
        self.run_for(5)
        self.assertTrue(two.status()["leading"] and two.status()["synced"])
        self.make_grid()
        self.assertEqual(self.names(), ["shop-a"])

    def test_an_error_that_nobody_expected_does_not_keep_it_from_beginning(self) -> None:
        problems = [OSError(24, "Too many open files")]

        async def install_or_fail(*arguments: Any) -> None:
            if problems:
                raise problems.pop()
            await install(*arguments)

        with mock.patch("superedge.grid.cloud.service.install", install_or_fail):
            service = self.replica()
            self.run_for(2)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.assertTrue(service.status()["synced"])

    def test_who_loses_the_lease_writes_no_more(self) -> None:
        replica = self.replica()
        self.make_grid()
        self.api.available = False
        self.run_for(12)
        self.assertFalse(replica.status()["leading"])
        self.assertNotIn("grids", replica.status())
        self.api.available = True
        self.run_for(5)
        self.assertTrue(replica.status()["synced"])


class ConfigTests(SynchronousTestCase):
    def test_what_a_configuration_cannot_say(self) -> None:
        for key, value in (("qps", 0.0), ("burst", 0), ("site_grace", -1.0)):
            problem = self.assertRaises(ValueError, ApplicationGridConfig, **{key: value})
            self.assertTrue(str(problem).startswith(key), str(problem))

    def test_it_needs_an_api_server(self) -> None:
        missing = KubernetesConfig(kubeconfig=Path("/nonexistent/kubeconfig"))
        config = Config(application_grid=ApplicationGridConfig(), kubernetes=missing)
        problem = self.assertRaises(SuperEdgeError, compose, config, cast(IReactor, Clock()))
        self.assertIn("/nonexistent/kubeconfig", str(problem))

    def test_readiness_waits_for_it(self) -> None:
        directory = Path(self.mktemp()).absolute()
        Authority.create(directory)
        kubeconfig = directory / "kubeconfig"
        kubeconfig.write_text(
            json.dumps(
                {
                    "current-context": "x",
                    "contexts": [{"name": "x", "context": {"cluster": "x"}}],
                    "clusters": [
                        {"name": "x", "cluster": {"server": "https://x", "certificate-authority": "ca.crt"}}
                    ],
                }
            )
        )
        config = Config(
            ops=OpsConfig(),
            application_grid=ApplicationGridConfig(),
            kubernetes=KubernetesConfig(kubeconfig=kubeconfig),
        )
        ops: Any = compose(config, cast(IReactor, MemoryReactorClock())).getServiceNamed("ops")
        waits = b"waiting for the application grid: Lease superedge-application-grid\n"
        self.assertEqual(ops._ready(), (503, waits))
