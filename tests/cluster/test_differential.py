"""Random operations on a real kube-apiserver, directly and through lite-apiserver, in several histories."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from tests.cluster.test_apiserver_contract import SKIP, shared
from tests.liteapiserver.differential import Differential, through_an_outage
from tests.liteapiserver.link import Link
from tests.liteapiserver.proxied import ProxiedServer

SEEDS = range(int(os.environ.get("SUPEREDGE_SEED", "100")), 1_000_000)
HISTORIES = 3
STEPS = 150
ADMIN = ("admin", "system:masters")


class DifferentialTests(SynchronousTestCase):
    """Each history ends with an outage, and with a crash in it."""

    if os.environ.get("SUPEREDGE_CLUSTER_TESTS") != "1":
        skip = SKIP

    def test_the_same_answers(self) -> None:
        server = shared()
        link = Link(server.url)
        self.addCleanup(link.cut)
        proxied = ProxiedServer(server, server.authority, link.url)
        self.addCleanup(proxied.stop)
        for seed in SEEDS[:HISTORIES]:
            namespaces = (f"direct-{seed}", f"other-{seed}")
            clients = (server.client(*ADMIN), proxied.client(*ADMIN))
            differential = Differential(seed, *clients, namespaces, protobuf=True)
            self.addCleanup(differential.clean)
            through_an_outage(differential, STEPS, link, proxied)
