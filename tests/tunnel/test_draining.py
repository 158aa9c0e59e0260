"""A cloud end that stops: open streams finish, and none holds it up for longer than it says."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.logger import formatEvent

from superedge.mux.errors import StreamReset
from superedge.mux.stream import MuxStream
from superedge.tunnel.errors import DialError
from tests.events import logged
from tests.mux.pair import Recorder
from tests.tunnel.case import BIG, Caller, TunnelCase


class DrainCase(TunnelCase):
    def stop(self) -> Deferred[None]:
        self.services.remove(self.cloud)
        return Deferred.fromCoroutine(self.cloud.stopService())

    async def open(self) -> MuxStream:
        return await self.cloud.open("edge-1", self.target, timeout=60)


class PatientTests(DrainCase):
    drain_timeout = 3600.0

    async def test_it_ends_as_soon_as_its_streams_have(self) -> None:
        stream, caller = await self.open(), Caller()
        stream.connect(caller)
        stream.write(BIG)
        stopping = self.stop()
        stream.write(BIG)
        stream.loseWriteConnection()
        self.assertEqual(await caller.ended, (BIG * 2)[::-1])
        await stopping
        self.assertFalse(self.cloud.knows("edge-1"))

    async def test_without_streams_it_ends_at_once(self) -> None:
        await self.stop()
        self.assertFalse(self.cloud.knows("edge-1"))

    async def test_while_it_waits_streams_are_opened_on_the_sessions_that_are_there(self) -> None:
        lasting = await self.open()
        stopping = self.stop()
        for _ in range(2):
            stream, caller = await self.open(), Caller()
            stream.connect(caller)
            stream.write(b"abc")
            stream.loseWriteConnection()
            self.assertEqual(await caller.ended, b"cba")
        self.assertFalse(stopping.called)
        lasting.abortConnection()
        await stopping

    async def test_the_node_looks_for_another(self) -> None:
        stream = await self.open()
        edge: Any = self.edge
        self.assertEqual(edge.connected_to, f"127.0.0.1:{self.cloud.address.port}")
        stopping = self.stop()
        await self.until(lambda: edge.connected_to is None)
        self.assertTrue(self.cloud.knows("edge-1"), "the session is there for the stream")
        stream.abortConnection()
        await stopping


class ImpatientTests(DrainCase):
    async def test_a_stream_that_never_ends_is_cut(self) -> None:
        stream, caller = await self.open(), Recorder()
        stream.connect(caller)
        await self.stop()
        self.assertTrue(stream.closed)
        self.assertIsNotNone(caller.lost)
        opening: Deferred[Any] = Deferred.fromCoroutine(self.open())
        problem = await self.assertFailure(opening, DialError)
        self.assertEqual(problem.code, "not-connected")


class EdgeTests(DrainCase):
    """A node that stops."""

    def stop_edge(self) -> Deferred[None]:
        self.services.remove(self.edge)
        return Deferred.fromCoroutine(self.edge.stopService())

    async def restart(self, drain_timeout: float) -> None:
        await self.stop_edge()
        await self.until(lambda: not self.cloud.knows("edge-1"))
        self.edge = self.make_edge("edge-1", [self.target], drain_timeout=drain_timeout)
        await self.until(lambda: self.cloud.knows("edge-1"))

    async def test_without_streams_it_ends_at_once(self) -> None:
        await self.restart(3600.0)
        await self.stop_edge()
        await self.until(lambda: not self.cloud.knows("edge-1"))

    async def test_its_streams_finish_and_new_ones_are_served_meanwhile(self) -> None:
        await self.restart(3600.0)
        stream, caller = await self.open(), Caller()
        stream.connect(caller)
        stream.write(BIG)
        stopping = self.stop_edge()
        late, other = await self.open(), Caller()
        late.connect(other)
        late.write(b"abc")
        late.loseWriteConnection()
        self.assertEqual(await other.ended, b"cba")
        self.assertFalse(stopping.called)
        stream.loseWriteConnection()
        self.assertEqual(await caller.ended, BIG[::-1])
        await stopping

    async def test_one_that_never_ends_is_cut(self) -> None:
        await self.restart(0.1)
        stream, caller = await self.open(), Recorder()
        stream.connect(caller)
        await self.stop_edge()
        await self.until(lambda: stream.closed)
        self.assertIsInstance(caller.lost, StreamReset)
        self.assertFalse(caller.fin)

    async def test_it_dials_as_soon_as_a_session_that_it_left_has_ended(self) -> None:
        await self.stop_edge()
        await self.until(lambda: not self.cloud.knows("edge-1"))
        self.edge = self.make_edge(
            "edge-1", [self.target], reconnect_initial=3600.0, reconnect_maximum=3600.0
        )
        await self.until(lambda: self.cloud.knows("edge-1"))
        stream, edge = await self.open(), cast(Any, self.edge)
        self.cloud.start_draining()
        await self.until(lambda: edge._pause_ended is not None)
        stream.abortConnection()
        for connection in list(self.cloud._connections):
            connection.close("test")
        events = logged(self)
        await self.until(lambda: any("failed" in formatEvent(event) for event in events))
