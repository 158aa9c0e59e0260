"""The client and the reflector on a real kube-apiserver."""

from __future__ import annotations

import os
from functools import cache

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from superedge.config.addresses import TCPAddress
from superedge.kube.access import Access
from superedge.kube.client import KubeClient
from superedge.tls.contexts import ClientContextSource
from tests.cluster.test_apiserver_contract import SKIP, shared
from tests.kube.contract import ClientContract


@cache
def access() -> Access:
    """As an administrator."""
    server = shared()
    host, port = server.url.removeprefix("https://").split(":")
    tls = ClientContextSource([server.ca], *server.identity("client-contract", "system:masters"))
    return Access(TCPAddress(host, int(port)), tls)


class KubeAPIServerClientTests(ClientContract, TestCase):
    if os.environ.get("SUPEREDGE_CLUSTER_TESTS") != "1":
        skip = SKIP

    async def begin(self) -> None:
        self.made = KubeClient(self.reactor, access())
        self.client = self.made

    async def compact(self) -> None:
        await deferToThread(shared().compact)

    async def finish(self) -> None:
        self.made.close()
