"""Random operations through a lite-apiserver process and directly, before and during an outage."""

from __future__ import annotations

import os

from twisted.trial.unittest import SynchronousTestCase

from superedge.tls.authority import Authority
from tests.liteapiserver.differential import Differential
from tests.liteapiserver.link import Link
from tests.liteapiserver.proxied import ProxiedServer
from tests.testing.server import shared as embedded

SEED = int(os.environ.get("SUPEREDGE_SEED", "1"))
STEPS = 40


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
        differential.prepare()
        self.addCleanup(differential.clean)
        versions = differential.versions()
        differential.run(STEPS)
        differential.watch_slices(versions)
        remembered = differential.remember()
        link.cut()
        proxied.wait_until("offline")
        differential.check(remembered)
        differential.check_watches()
        proxied.crash()
        proxied.start()
        proxied.wait_until("offline")
        differential.check(remembered)
        link.restore()
        proxied.wait_until("online")
        differential.run(STEPS // 3)
