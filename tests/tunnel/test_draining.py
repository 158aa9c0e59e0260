"""A cloud end that stops: open streams finish, and none holds it up for longer than it says."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from superedge.mux.stream import MuxStream
from superedge.tunnel.errors import DialError
from tests.mux.pair import Recorder
from tests.tunnel.case import BIG, Caller, TunnelCase


class DrainCase(TunnelCase):
    def stop(self) -> Deferred[None]:
        self.services.remove(self.cloud)
        return Deferred.fromCoroutine(self.cloud.stopService())

    async def open(self) -> MuxStream:
        return await self.cloud.open("edge-1", self.target, timeout=5)


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

    async def test_the_node_looks_for_another_and_takes_no_more_streams_here(self) -> None:
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
        self.assertTrue(stream.gone)
        self.assertIsNotNone(caller.lost)
        opening: Deferred[Any] = Deferred.fromCoroutine(self.open())
        problem = await self.assertFailure(opening, DialError)
        self.assertEqual(problem.code, "not-connected")
