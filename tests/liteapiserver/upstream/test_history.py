"""A cluster that was restored from a backup: who resumes a watch from beyond its history lists again."""

from __future__ import annotations

import json
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.kube.request import RequestInfo, parse_request
from superedge.liteapiserver.access.caller import Caller
from superedge.liteapiserver.service import LiteAPIServer
from superedge.liteapiserver.upstream.fetch import KEPT_TIMEOUT
from superedge.liteapiserver.upstream.history import TIMEOUT, History
from superedge.net.errors import ConnectError
from superedge.web.heads import ResponseHead
from tests.liteapiserver.cache.driver import bookmark, event, list_of, pod, typed
from tests.liteapiserver.test_offline import OfflineTestCase
from tests.liteapiserver.test_proxying import PODS
from tests.liteapiserver.world import IMPATIENT, JSON, Response, Seen, until


class Connection:
    """An upstream connection: what was asked, and the test answers."""

    def __init__(self) -> None:
        self.receiver: Any = None
        self.head = b""
        self.abandoned = False

    def request(self, head: bytes, _is_head: bool, _complete: bool, receiver: Any) -> None:
        self.head, self.receiver = head, receiver

    def abandon(self) -> None:
        self.abandoned = True

    def give_up(self, reason: str) -> None:
        self.receiver.failed(reason)

    def answer(self, status: int, body: bytes) -> None:
        lines = b"Content-Type: application/json\r\n"
        self.receiver.response(ResponseHead(status, b"", lines, False, True))
        self.receiver.data([body])
        self.receiver.complete([])


class FakePool:
    def __init__(self, reactor: Clock) -> None:
        self.reactor = reactor
        self.connections: list[Connection] = []
        self.idle: list[Connection] = []
        self.refused = False

    def take_idle(self) -> Connection | None:
        return self.idle.pop() if self.idle else None

    def connect(self) -> Deferred[Connection]:
        done: Deferred[Connection] = Deferred()
        if self.refused:
            done.errback(ConnectError("refused"))
        else:
            self.connections.append(Connection())
            done.callback(self.connections[-1])
        return done


def listed(version: int) -> bytes:
    return list_of([], version)


class HistoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.pool = FakePool(self.clock)
        self.shown = 50
        self.history = History(
            self.clock, b"cloud", lambda: {("", "pods"): self.shown}, self.cluster_restored
        )
        self.told: list[tuple[str, str, int]] = []
        self.history.reset()

    def cluster_restored(self, group: str, resource: str, end: int) -> None:
        self.told.append((group, resource, end))

    def resume(self, version: int, query: str = "", identity: str = "me") -> Deferred[bool]:
        target = f"{PODS}?watch=true&resourceVersion={version}{query}"
        info = parse_request(b"GET", target.encode(), b"")
        return Deferred.fromCoroutine(self.goes_on(info, Caller(cast(Any, self.pool), identity, "t")))

    async def goes_on(self, info: RequestInfo, caller: Caller) -> bool:
        return not self.history.must_check(info) or not await self.history.history_end(caller, info)

    def asked(self, count: int) -> Connection:
        self.assertEqual(len(self.pool.connections), count)
        return self.pool.connections[-1]

    def test_the_first_asks_with_the_clients_own_rights_and_selectors(self) -> None:
        watch = self.resume(40, "&fieldSelector=spec.nodeName%3Da%20b&labelSelector=x&timeoutSeconds=9")
        head = self.asked(1).head.decode()
        self.assertTrue(
            head.startswith(f"GET {PODS}?fieldSelector=spec.nodeName%3Da+b&labelSelector=x&limit=1 ")
        )
        self.assertIn("Authorization: Bearer t\r\n", head)
        self.assertNoResult(watch)
        self.asked(1).answer(200, listed(60))
        self.assertTrue(self.successResultOf(watch))
        # That was proof for everybody, until the cloud is away again.
        self.assertTrue(self.successResultOf(self.resume(59)))
        self.assertTrue(self.successResultOf(self.resume(900)))
        self.asked(1)
        self.assertEqual(self.told, [])
        self.history.reset()
        self.resume(60)
        self.asked(2)

    def test_a_restored_cluster(self) -> None:
        watch = self.resume(45)
        self.asked(1).answer(200, listed(20))
        self.assertFalse(self.successResultOf(watch))
        # Who is not beyond it may go on.
        self.assertTrue(self.successResultOf(self.resume(20)))
        self.asked(1)
        # Somebody lists anew, and so does the cache; others are still beyond.
        self.shown = 21
        watch = self.resume(21)
        self.asked(2).answer(200, listed(21))
        self.assertTrue(self.successResultOf(watch))
        watch = self.resume(45)
        self.asked(3).answer(200, listed(22))
        self.assertFalse(self.successResultOf(watch))
        # Once it has come to all that was shown before, it cannot be told apart.
        watch = self.resume(50)
        self.asked(4).answer(200, listed(50))
        self.assertTrue(self.successResultOf(watch))
        self.assertTrue(self.successResultOf(self.resume(51)))
        self.asked(4)
        self.assertEqual(self.told, [("", "pods", 20)])

    def test_a_client_that_was_shown_more_than_the_cache_knows(self) -> None:
        self.shown = 0  # a resource that is not remembered
        self.history.reset()
        watch = self.resume(45)
        self.asked(1).answer(200, listed(20))
        self.assertFalse(self.successResultOf(watch))

    def test_many_wait_for_one_answer(self) -> None:
        watches = [self.resume(version) for version in (10, 45, 46)]
        self.assertEqual(list(self.history.waiting_since()), [0.0])
        self.asked(1).answer(200, listed(45))
        self.assertEqual([self.successResultOf(watch) for watch in watches], [True, True, False])
        self.assertEqual(list(self.history.waiting_since()), [])

    def test_an_answer_that_was_asked_for_before_is_no_proof(self) -> None:
        first = self.resume(10)
        self.clock.advance(0.5)
        late = self.resume(46)  # may have been shown 46 since
        self.asked(1).answer(200, listed(45))
        self.assertTrue(self.successResultOf(first))
        self.assertNoResult(late)
        self.asked(2).answer(200, listed(46))
        self.assertTrue(self.successResultOf(late))

    def test_each_identity_asks_for_itself(self) -> None:
        mine, other = self.resume(45), self.resume(45, identity="other")
        first, second = self.pool.connections
        first.answer(403, b"{}")
        self.assertTrue(self.successResultOf(mine))  # nobody says
        second.answer(200, listed(20))
        self.assertFalse(self.successResultOf(other))

    def test_answers_that_say_nothing(self) -> None:
        for number, (status, body) in enumerate(
            ((404, b"404 page not found"), (200, b"<html>"), (200, b'{"metadata":{}}'), (500, b"")), 1
        ):
            watch = self.resume(45)
            self.asked(number).answer(status, body)
            self.assertTrue(self.successResultOf(watch))
        self.pool.refused = True
        self.assertTrue(self.successResultOf(self.resume(45)))

    def test_a_connection_that_is_there_is_used_and_may_be_gone(self) -> None:
        kept = Connection()
        self.pool.idle = [kept]
        watch = self.resume(45)
        self.assertEqual(self.pool.connections, [])
        kept.receiver.failed("closed")
        self.asked(1).answer(200, listed(20))
        self.assertFalse(self.successResultOf(watch))

    def test_a_connection_that_is_there_may_be_silent(self) -> None:
        kept = Connection()
        self.pool.idle = [kept]
        watch = self.resume(45)
        self.clock.advance(KEPT_TIMEOUT)
        self.asked(1).answer(200, listed(20))
        self.assertFalse(self.successResultOf(watch))
        # One that has begun to answer may take its time.
        kept = Connection()
        self.pool.idle = [kept]
        watch = self.resume(46)
        kept.receiver.response(ResponseHead(200, b"", b"", False, True))
        self.clock.advance(KEPT_TIMEOUT)
        self.assertNoResult(watch)
        kept.answer(200, listed(46))
        self.assertTrue(self.successResultOf(watch))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_answer(self) -> None:
        watch = self.resume(45)
        self.clock.advance(TIMEOUT)
        self.assertTrue(self.successResultOf(watch))
        self.assertTrue(self.asked(1).abandoned)
        watch = self.resume(45)
        self.history.reset()  # the cloud is given up meanwhile
        self.assertTrue(self.successResultOf(watch))
        self.assertEqual((list(self.history.waiting_since()), self.clock.getDelayedCalls()), ([], []))

    def test_stopping(self) -> None:
        watches = [self.resume(45), self.resume(46)]
        self.history.stop()
        for watch in watches:
            self.failureResultOf(watch, CancelledError)
        self.assertTrue(self.asked(1).abandoned)
        self.assertEqual((list(self.history.waiting_since()), self.clock.getDelayedCalls()), ([], []))

    def test_who_is_not_asked_about(self) -> None:
        for target in (
            PODS,
            f"{PODS}?watch=true",
            f"{PODS}?watch=true&resourceVersion=0",
            f"{PODS}?watch=true&resourceVersion=45&sendInitialEvents=true",
            f"{PODS}?resourceVersion=45&resourceVersionMatch=Exact",
            f"{PODS}/a?resourceVersion=45",
            f"/api/v1/watch{PODS.removeprefix('/api/v1')}/a?resourceVersion=45",
        ):
            info = parse_request(b"GET", target.encode(), b"")
            self.assertFalse(self.history.must_check(info), target)


class RestoredClusterCase(OfflineTestCase):
    """Through lite-apiserver, with an outage between two histories."""

    @property
    def lite(self) -> LiteAPIServer:
        assert self.world.lite is not None
        return self.world.lite

    async def begin(self) -> None:
        self.upstream.revision = 50
        self.upstream.serve(PODS.encode(), list_of([pod("a", 40), pod("lost", 50)], 50))
        await self.world.get(PODS)
        await self.world.go_offline()

    async def restore(self, revision: int) -> None:
        self.upstream.revision = revision
        self.upstream.answers[PODS.encode()] = self.watch
        await self.upstream.start()
        await until(lambda: self.world.state == "online", "online")

    def watch(self, seen: Seen) -> None:
        seen.request.start(200, b"OK", list(JSON), False)
        seen.request.write([bookmark(60)])
        seen.request.flush()

    async def resume(self) -> Response:
        target = f"{PODS}?watch=true&resourceVersion=50"
        return await self.world.send("GET", target, identity=self.world.node)


class RestoredClusterTests(RestoredClusterCase):
    async def test_the_same_cluster(self) -> None:
        await self.begin()
        await self.restore(55)
        answer = await self.resume()
        await until(lambda: b"60" in answer.body, "the cloud's own answer")

    async def test_a_restored_one(self) -> None:
        await self.begin()
        await self.restore(45)
        answer = await self.resume()
        await answer.over
        self.assertEqual(answer.status, 410)
        self.assertEqual(json.loads(answer.body)["reason"], "Expired")
        answer = await self.world.get(f"{PODS}?resourceVersion=50")
        self.assertEqual(answer.status, 504)
        self.assertEqual(json.loads(answer.body)["details"]["causes"][0]["reason"], "ResourceVersionTooLarge")
        self.assertEqual(answer.header(b"retry-after"), b"")  # client-go would ask for the same ten times
        self.upstream.serve(PODS.encode(), list_of([pod("a", 40)], 46))
        await self.world.get(PODS)
        await self.world.go_offline()
        listed = json.loads((await self.world.get(PODS)).body)
        self.assertEqual([item["metadata"]["name"] for item in listed["items"]], ["a"])

    async def test_what_nobody_lists_again_is_forgotten(self) -> None:
        other = self.world.authority.issue("other", directory=self.world.pairs)
        self.lite.identities.check()
        self.upstream.serve(f"{PODS}/lost".encode(), json.dumps(typed(pod("lost", 50))).encode())
        await self.world.ask("GET", f"{PODS}/lost", identity=other)
        await self.begin()
        await self.restore(45)
        await self.resume()
        await until(lambda: self.lite.cache.newest()["", "pods"] == 0)
        await self.world.go_offline()
        self.assertEqual((await self.world.ask("GET", f"{PODS}/lost", identity=other)).status, 503)

    async def test_a_list_that_an_event_overtakes(self) -> None:
        """It was made before the event and comes after it: that is no cluster that was restored."""
        await self.remember("a")
        asked: list[Seen] = []
        self.upstream.answers[PODS.encode()] = asked.append
        target = f"{PODS}?watch=true&resourceVersion=20"
        watch = await self.world.send("GET", target, identity=self.world.node)
        await until(lambda: len(asked) == 1)
        asked[0].request.start(200, b"OK", list(JSON), False)
        asked[0].request.flush()
        await watch.begun
        listed = await self.world.send("GET", f"{PODS}?labelSelector=x", identity=self.world.node)
        await until(lambda: len(asked) == 2)
        asked[0].request.write([event("ADDED", pod("b", 30))])
        asked[0].request.flush()
        await until(lambda: b'"b"' in watch.body)
        asked[1].request.respond(200, list(JSON), list_of([], 25))
        await listed.over
        await self.world.go_offline()
        self.assertEqual(self.names(await self.world.get(PODS)), ["a", "b"])
        self.assertEqual(self.names(await self.world.get(f"{PODS}?labelSelector=x")), [])

    async def test_stopped_while_it_is_asked(self) -> None:
        await self.begin()
        await self.restore(45)
        asked: list[Seen] = []
        self.patch(self.upstream, "tell_revision", asked.append)
        answer = await self.resume()
        await until(lambda: asked)
        await self.world.stop_lite()
        self.assertNotEqual(await answer.over, "")
        await self.pause(0.1)
        self.assertEqual(len(asked), 1, "nor is it asked again")


class SilentCloudTests(RestoredClusterCase):
    options = {"timing": IMPATIENT}

    async def test_the_cloud_goes_while_it_is_asked(self) -> None:
        await self.begin()
        await self.restore(45)
        self.patch(self.upstream, "tell_revision", lambda _seen: None)
        asked = await self.resume()
        self.upstream.answers[b"/readyz"] = lambda _seen: None
        await asked.begun
        self.assertEqual((asked.status, self.world.state), (200, "offline"))
        self.assertTrue(asked.header(b"warning").startswith(b"110"))
