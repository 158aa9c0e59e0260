"""Three cloud ends as processes on a real API server."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from tests.cluster.test_apiserver_contract import SKIP, shared
from tests.tunnel.replicas.test_processes import ReplicaProcesses


class RealReplicaTests(ReplicaProcesses, SynchronousTestCase):
    patient = True
    if os.environ.get("SUPEREDGE_CLUSTER_TESTS") != "1":
        skip = SKIP

    def setUp(self) -> None:
        self.server = shared()
        self.kubeconfig = shared().directory / "admin.kubeconfig"
        super().setUp()
