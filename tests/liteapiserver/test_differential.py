"""Random operations through a lite-apiserver process and directly, before and during an outage."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from superedge.tls.authority import Authority
from tests.liteapiserver.differential import Differential, through_an_outage
from tests.liteapiserver.link import Link
from tests.liteapiserver.proxied import ProxiedServer
from tests.testing.server import shared as embedded

SEED = int(os.environ.get("SUPEREDGE_SEED", "1"))
STEPS = 20


class DifferentialTests(SynchronousTestCase):
    def test_the_same_answers_online_offline_and_after_a_crash(self) -> None:
        server = embedded()
        link = Link(server.url)
        self.addCleanup(link.cut)
        proxied = ProxiedServer(server, Authority.load(server.directory / "pki"), link.url)
        self.addCleanup(proxied.stop)
        admin = ("admin", "system:masters")
        client = proxied.client(*admin)
        differential = Differential(
            SEED, server.client(*admin), client, (f"direct-{SEED}", f"other-{SEED}"), protobuf=True
        )
        self.addCleanup(differential.clean)
        through_an_outage(differential, STEPS, link, proxied)
        differential.run(STEPS // 3)
