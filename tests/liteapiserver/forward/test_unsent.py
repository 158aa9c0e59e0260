"""Clients that do not read have a share of memory, and others get their responses."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from superedge.liteapiserver.access.caller import certificate_identity
from superedge.liteapiserver.forward import unsent
from superedge.liteapiserver.forward.unsent import MAX_UNSENT, UnsentAnswers
from tests.liteapiserver.cache.driver import list_of, pod
from tests.liteapiserver.test_offline import OfflineTestCase
from tests.liteapiserver.test_proxying import PODS
from tests.liteapiserver.world import NODE, until

OWNER = certificate_identity(NODE)


class Transport:
    connected = True

    def __init__(self, waiting: int) -> None:
        self.waiting = waiting

    def unsent(self) -> int:
        return self.waiting


class ShareTests(SynchronousTestCase):
    def test_an_identity_has_as_much_as_is_left(self) -> None:
        answers, half = UnsentAnswers(), Transport(MAX_UNSENT // 2)
        answers.sent(half, "a")
        self.assertEqual([answers.admits("a"), answers.admits("b")], [False, True])
        quarter = Transport(MAX_UNSENT // 4)
        answers.sent(quarter, "b")
        self.assertEqual([answers.admits("b"), answers.admits("c")], [False, True])
        half.waiting = 0
        self.assertEqual([answers.admits("a"), answers.admits("b")], [True, True])

    def test_what_is_gone_does_not_count(self) -> None:
        answers, first, second = UnsentAnswers(), Transport(MAX_UNSENT), Transport(MAX_UNSENT)
        answers.sent(first, "a")
        answers.sent(second, "a")
        first.connected = False
        del second
        self.assertTrue(answers.admits("a"))


class OfflineTests(OfflineTestCase):
    async def test_a_client_that_does_not_read(self) -> None:
        self.patch(unsent, "MAX_UNSENT", 1_000_000)
        large = pod("a", 3) | {"spec": {"nodeName": "x" * 12_000_000}}
        self.upstream.serve(PODS.encode(), list_of([large], 20))
        for identity in (self.world.node, None):
            await self.world.ask("GET", PODS, identity=identity)
        await self.world.go_offline()
        deaf = await self.world.connect(self.world.node)
        deaf.transport.pauseProducing()
        await self.world.send("GET", PODS, connection=deaf)
        lite = self.world.lite
        assert lite is not None
        shares = lite.frontend.answers._unsent
        await until(lambda: not shares.admits(OWNER), "an answer waits")
        answer = await self.world.get(PODS)
        self.assertEqual((answer.status, answer.header(b"retry-after")), (429, b"1"))
        self.assertEqual((await self.world.ask("GET", PODS)).status, 200)
        deaf.transport.abortConnection()
        await until(lambda: shares.admits(OWNER), "the client is gone")
        self.assertEqual((await self.world.get(PODS)).status, 200)
