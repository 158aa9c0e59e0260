"""The service in the cloud: which replica judges."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.health import EdgeAdmissionConfig
from superedge.health.cloud.service import EdgeAdmission
from superedge.interfaces import IReactor
from superedge.kube.errors import Unavailable
from superedge.kube.leaderelection import DEADLINE
from superedge.testing.inprocess import InProcessAPI
from superedge.tls.reload import FileWatcher
from tests.health.judged import Streams
from tests.health.voters import NODES, Voters


class ServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.api = InProcessAPI(self.clock)
        self.call("POST", "/api/v1/namespaces", {"metadata": {"name": "superedge"}})
        self.ca = Voters(Path(self.mktemp())).authority.path

    def call(self, method: str, path: str, body: Any) -> None:
        done = Deferred.fromCoroutine(self.api.client().call(method, path, body=body))
        self.clock.pump([0] * 4)
        self.successResultOf(done)

    def replica(self) -> EdgeAdmission:
        config = EdgeAdmissionConfig(ca=[self.ca], enforcement="policy")
        reactor = cast(IReactor, self.clock)
        watcher = FileWatcher(reactor)
        made = EdgeAdmission(
            reactor, config, cast(Any, self.api.client()), "superedge", Streams(), watcher, NODES
        )
        made.startService()
        self.addCleanup(self.clock.pump, [0.1] * 20)
        self.addCleanup(made.stopService)
        self.clock.pump([0.1] * 20)
        return made

    def test_it_is_not_ready_without_the_rights_it_needs(self) -> None:
        self.api.refused = ("/leases",)
        one = self.replica()
        for part, reason in (
            ("superedge/leases", "Lease superedge-edge-health: 403 Forbidden"),
            ("/api/v1/nodes", "/api/v1/nodes: 403 Forbidden"),
        ):
            self.api.refused = (part,)
            self.clock.pump([0.5] * 30)
            self.assertIn(f"edge health: {reason}", one.waits_for())
        self.api.refused = ()
        self.clock.pump([0.5] * 30)
        self.assertEqual(one.waits_for(), "")
        self.assertEqual(self.replica().waits_for(), "")  # the first one judges

    def test_one_that_was_paused_writes_nothing(self) -> None:
        judging = self.replica()._judging
        assert judging is not None
        self.clock.advance(DEADLINE)
        late = judging._publisher._client.call("PATCH", "/api/v1/nodes/n1", body={})
        self.failureResultOf(Deferred.fromCoroutine(late), Unavailable)
