"""Which way a request takes: here, or one hop, and which comes next when there is nothing at its end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.addresses import TCPAddress
from superedge.tunnel.errors import DialError
from superedge.tunnel.messages import DialRequest
from superedge.tunnel.replicas.records import Replica
from superedge.tunnel.replicas.router import Router
from superedge.tunnel.replicas.routes import Route

PEER = TCPAddress("192.0.2.1", 51002)


class World:
    """The session here, the routes, and what every way leads to; ``asked`` are the ways tried."""

    def __init__(self, here: int | None, **routes: int) -> None:
        self.nodes = self
        self._here = here
        self._routes = [
            Route(Replica(name, "1", "", 15, PEER, ()), epoch)
            for name, epoch in sorted(routes.items(), key=lambda each: -each[1])
        ]
        self.fails: dict[str, DialError] = {}
        self.asked: list[str] = []
        self.on_stream: list[object] = []
        self.router = Router(cast(Any, self), cast(Any, self), cast(Any, SimpleNamespace(open=self.hop)))

    def get(self, node: str) -> object:
        return None if self._here is None else SimpleNamespace(epoch=self._here)

    def knows(self, node: str) -> bool:
        return self._here is not None

    def routes(self, node: str) -> list[Route]:
        return self._routes

    async def open(self, node: str, address: str, **more: Any) -> str:
        self.on_stream.append(more["on_stream"])
        return self.reach("here")

    async def hop(self, replica: Replica, node: str, request: DialRequest) -> str:
        return self.reach(replica.name)

    def reach(self, way: str) -> str:
        self.asked.append(way)
        if way in self.fails:
            raise self.fails[way]
        return way


def begin(stream: object) -> None:
    """Would send bytes ahead."""


class RouterTests(SynchronousTestCase):
    def ask(self, world: World, **fails: str) -> str:
        """The ways tried, and what came of the last."""
        world.fails = {way: DialError(cast(Any, code), f"said by {way}") for way, code in fails.items()}
        opening: Deferred[Any] = Deferred.fromCoroutine(
            world.router.open("edge-1", "x:1", timeout=1, on_stream=cast(Any, begin))
        )
        found: list[Any] = []
        opening.addBoth(found.append)
        problem: Any = found[0].value if isinstance(found[0], Failure) else None
        return " ".join(world.asked) + (f": {problem.code} {problem}" if problem else "")

    def test_known_here_or_elsewhere(self) -> None:
        for here, elsewhere, known in (
            (5, {}, True),
            (None, {"b": 5}, True),
            (5, {"b": 6}, True),
            (None, {}, False),
        ):
            self.assertEqual(World(here, **cast(Any, elsewhere)).router.knows("edge-1"), known)

    def test_the_newest_session_serves(self) -> None:
        self.assertEqual(self.ask(World(5)), "here")
        self.assertEqual(self.ask(World(5, b=4, c=3)), "here")
        self.assertEqual(self.ask(World(5, b=4, c=6)), "c")
        self.assertEqual(self.ask(World(None, b=4, c=6)), "c")

    def test_where_the_node_is_not_any_more_the_next_newest_is_tried(self) -> None:
        gone = "not-connected"
        self.assertEqual(self.ask(World(5, b=9, c=7, d=3), b=gone), "b c")
        self.assertEqual(self.ask(World(5, b=9, c=7, d=3), b=gone, c=gone), "b c here")
        self.assertEqual(self.ask(World(None, b=9, c=7), b=gone), "b c")

    def test_the_last_says_why(self) -> None:
        gone = "not-connected"
        self.assertEqual(self.ask(World(None, b=9, c=7), b=gone, c=gone), "b c: not-connected said by c")
        self.assertEqual(self.ask(World(5, b=9), b=gone, here=gone), "b here: not-connected said by here")
        self.assertEqual(self.ask(World(None), here=gone), "here: not-connected said by here")

    def test_what_the_node_refused_is_not_asked_again(self) -> None:
        for code in ("denied", "refused", "timeout", "limit", "internal", "unresolvable"):
            self.assertEqual(self.ask(World(5, b=9, c=7), b=code), f"b: {code} said by b")

    def test_bytes_go_ahead_only_where_no_other_way_follows(self) -> None:
        world = World(5, b=9)
        self.ask(world, b="not-connected")
        self.assertEqual(world.on_stream, [begin])
