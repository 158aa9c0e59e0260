"""What changes while requests are under way: a pair that is renewed, an API server that goes away."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.liteapiserver.world import JSON, NODE, Seen, Upstream, World, reactor, until

CLIENTS = 8
BODY = b"x" * 2000


def answer_later(seen: Seen) -> None:
    """In a while, so that something is always under way."""
    reactor.callLater(0.005, respond, seen)


def respond(seen: Seen) -> None:
    if not seen.request.finished:
        seen.request.respond(200, list(JSON), BODY)


class Load:
    """Clients that ask one after the other, reads and writes by turns, until they are told to stop."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.writes = True
        self.outcomes: Counter[str] = Counter()
        self.running = True
        self._clients = [Deferred.fromCoroutine(self._client()) for _ in range(CLIENTS)]

    async def _client(self) -> None:
        connection = await self.world.connect(self.world.node)
        number = 0
        while self.running:
            number += 1
            method, body = ("POST", b"{}") if self.writes and number % 2 else ("GET", b"")
            response = await self.world.send(method, "/apis/x.io/v1/things", body=body, connection=connection)
            problem = await response.over
            whole = response.status == 200 and response.body == BODY
            self.outcomes["" if whole else f"{method}: {problem or response.status}"] += 1
            if problem:
                connection = await self.world.connect(self.world.node)

    @property
    def answered(self) -> int:
        return self.outcomes[""]

    async def more(self, count: int) -> None:
        """Returns when so many more were answered well."""
        goal = self.answered + count
        await until(lambda: self.answered >= goal, f"{count} more answers")

    async def stop(self) -> None:
        self.running = False
        await gatherResults(self._clients)


class UnderLoadTests(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        self.world = World(Path(self.mktemp()))
        self.addCleanup(lambda: Deferred.fromCoroutine(self.world.stop()))
        self.world.others.append(Upstream(self.world.tls))
        for upstream in (self.world.upstream, *self.world.others):
            upstream.answers[b"/apis/x.io/v1/things"] = answer_later
        await self.world.start()
        self.load = Load(self.world)
        await self.load.more(50)

    async def test_a_pair_is_renewed_again_and_again(self) -> None:
        assert self.world.lite is not None
        upstream, serials = self.world.upstream, set()
        for _ in range(6):
            self.world.authority.issue(NODE, ["system:nodes"], directory=self.world.pairs, name="node")
            self.world.lite.identities.check()
            await self.load.more(40)
            serials.add(upstream.seen[-1].request.transport.peer_certificate["serialNumber"])
        await self.load.stop()
        self.assertEqual(set(self.load.outcomes), {""})
        self.assertEqual(len(serials), 6, "each was used")
        await deferLater(reactor, 0.25)  # the bound of the drain time

    async def test_an_api_server_that_ends_in_order(self) -> None:
        first, (second,) = self.world.upstream, self.world.others
        assert first.port is not None
        # A write that meets the end of its connection is not repeated: nobody knows what came of it.
        self.load.writes = False
        await self.load.more(2 * CLIENTS)
        first.port.stopListening()
        first.factory.plain.close_idle()
        await self.load.more(100)
        await self.load.stop()
        self.assertEqual(set(self.load.outcomes), {""})
        self.assertGreater(len(second.seen), 90)
        self.assertEqual(self.world.state, "online")

    async def test_an_api_server_that_crashes(self) -> None:
        self.world.upstream.stop()
        await self.load.more(100)
        await self.load.stop()
        failed = sum(self.load.outcomes.values()) - self.load.answered
        self.assertLessEqual(failed, CLIENTS, "what was under way")
        self.assertEqual(self.world.state, "online")
