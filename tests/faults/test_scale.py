"""Two hundred clients and five thousand objects on one lite-apiserver, and a client that does not read."""

from __future__ import annotations

import gc
import json
import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.liteapiserver.cache.driver import event, list_of, pod
from tests.liteapiserver.test_proxying import PODS
from tests.liteapiserver.world import JSON, Response, Seen, World, reactor, until

CLIENTS = 200
OBJECTS = 5000
FLAPS = 12
WATCH = f"{PODS}?watch=true&allowWatchBookmarks=true&resourceVersion="


def descriptors() -> int:
    """Open files of this process, which is server, lite-apiserver and clients at once."""
    return len(os.listdir("/proc/self/fd"))


class ScaleCase(TestCase):
    timeout = 110
    if os.environ.get("SUPEREDGE_CLUSTER_TESTS") != "1":
        skip = "set SUPEREDGE_CLUSTER_TESTS=1 to run loads"

    async def setUp(self) -> None:  # type: ignore[override]
        # All of it shares one process: what is slow here is no outage.
        timing = {"probe_interval": 0.2, "probe_timeout": 8.0}
        self.world = World(Path(self.mktemp()), resume_within=1.0, timing=timing)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.world.stop()))
        self.upstream = self.world.upstream
        self.streams: list[Seen] = []
        items = [pod(f"pod-{number}", number + 1, app="web", filler="x" * 60) for number in range(OBJECTS)]
        self.listed = list_of(items, OBJECTS + 1)
        self.upstream.answers[PODS.encode()] = self.answer
        await self.world.start()

    def answer(self, seen: Seen) -> None:
        """Lists and watches of the namespace."""
        if b"watch=true" not in seen.target:
            seen.request.respond(200, list(JSON), self.listed)
            return
        seen.request.start(200, b"OK", list(JSON), False)
        seen.request.flush()
        self.streams.append(seen)

    def tell(self, frame: bytes) -> None:
        """Something happens: every watch is told."""
        for seen in self.streams:
            if not seen.request.finished:
                seen.request.write([frame])
                seen.request.flush()

    async def watches(self, version: int, count: int = CLIENTS) -> list[Response]:
        asked = [
            Deferred.fromCoroutine(self.world.send("GET", f"{WATCH}{version}", identity=self.world.node))
            for _ in range(count)
        ]
        found = await gatherResults(asked)
        await gatherResults([response.begun for response in found])
        return found

    async def all_got(self, responses: list[Response], frame: bytes) -> None:
        await until(lambda: all(frame in response.body for response in responses), "everybody is told", 60)

    @property
    def frontend(self) -> Any:
        assert self.world.lite is not None
        return self.world.lite.frontend


class ManyTests(ScaleCase):
    """All go through the outage, and none is forgotten."""

    async def test_an_outage_and_its_end(self) -> None:
        await self.world.get(PODS)
        version = OBJECTS + 1
        watching = await self.watches(version)
        frame = event("ADDED", pod("new", version + 1))
        self.tell(frame)
        await self.all_got(watching, frame)
        await self.world.go_offline()
        self.assertFalse(any(response.over.called for response in watching))

        listed = json.loads((await self.world.get(PODS)).body)
        self.assertEqual(len(listed["items"]), OBJECTS + 1)
        late = await self.watches(version)  # they missed one event
        await self.all_got(late, b'"new"')
        self.assertFalse(any(response.over.called for response in (*watching, *late)))

        self.streams.clear()
        await self.upstream.start()
        ended: list[float] = []
        for response in (*watching, *late):
            response.over.addCallback(lambda _: ended.append(reactor.seconds()))
        await until(lambda: len(ended) == 2 * CLIENTS, "every watch is ended", 30)
        sys.stdout.write(f"\n    {len(ended)} watches ended within {ended[-1] - ended[0]:.2f} s ")
        most = max(sum(moment <= other < moment + 0.1 for other in ended) for moment in ended)
        self.assertLess(most, CLIENTS)  # spread, not at once
        again = await self.watches(version + 1)
        await until(lambda: len(self.streams) == CLIENTS)
        last = event("DELETED", pod("new", version + 2))
        self.tell(last)
        await self.all_got(again, last)
        for connection in self.world.connections:
            connection.transport.abortConnection()
        await until(lambda: self.frontend.active == 0, "nothing is left of them")

    async def test_a_link_that_flaps(self) -> None:
        """Watches come and go with it; nothing stays behind."""
        await self.world.get(PODS)
        sizes = []
        for _ in range(FLAPS):
            watching = await self.watches(OBJECTS + 1, 20)
            await self.world.go_offline()
            watching += await self.watches(OBJECTS + 1, 20)
            self.assertIn(b"pod-7", (await self.world.get(f"{PODS}/pod-7")).body)
            self.streams.clear()
            await self.upstream.start()
            await until(lambda: self.world.state == "online", "online", 30)
            await gatherResults([response.over for response in watching])
            for connection in self.world.connections:
                connection.transport.abortConnection()
            self.world.connections.clear()
            self.upstream.bodies.clear()
            self.upstream.seen.clear()
            await until(lambda: self.frontend.active == 0, "no exchange is left")
            await deferLater(reactor, 0.1)
            gc.collect()
            sizes.append((descriptors(), len(reactor.getDelayedCalls())))
        sys.stdout.write(f"\n    descriptors and timers after each: {sizes} ")
        for first, last in zip(sizes[1], sizes[-1], strict=True):
            self.assertLessEqual(last, first + 5)


class DeafClientTests(ScaleCase):
    """A client that opens a watch and never reads it."""

    async def test_memory_is_bounded_and_others_go_on(self) -> None:
        await self.world.get(PODS)
        others = await self.watches(OBJECTS + 1, 5)
        (deaf,) = await self.watches(OBJECTS + 1, 1)
        assert deaf.connection is not None
        deaf.connection.transport.pauseProducing()
        size = 100_000
        for number in range(200):
            frame = event("MODIFIED", pod("pod-1", OBJECTS + 2 + number, filler="y" * size))
            self.tell(frame)
            await deferLater(reactor, 0.002)
        await self.all_got(others, f'"{OBJECTS + 201}"'.encode())
        assert self.world.lite is not None
        waiting = [connection.transport.unsent() for connection in self.world.lite._factory.connections]
        sys.stdout.write(
            f"\n    sent {200 * size // 1_000_000} MB; lite-apiserver holds {max(waiting)} bytes "
        )
        self.assertLess(max(waiting), 4_000_000)
        await self.world.go_offline()
        self.assertEqual((await self.world.get(f"{PODS}/pod-1")).status, 200)
