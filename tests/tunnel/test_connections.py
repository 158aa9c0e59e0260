"""A session of several connections."""

from __future__ import annotations

from typing import Any

from superedge.config.listeners import TCPListenerConfig
from superedge.config.tunnel import LimitsConfig
from superedge.mux.protocol import MuxConnection
from superedge.mux.session import MAX_ID
from superedge.tunnel.listeners.tcp import TCPListener
from superedge.tunnel.nodetable import NodeSession
from tests.tunnel.case import BIG, TunnelCase, reactor


class ConnectionsTests(TunnelCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.make_edge("edge-2", [self.target], connections=3)
        await self.until(lambda: self.connected() == 3)
        config = TCPListenerConfig(listen="127.0.0.1:0", node="edge-2", target=self.target)
        self.listener = self.start(TCPListener(reactor, self.cloud, config))

    def session(self, node: str = "edge-2") -> NodeSession:
        session = self.cloud.nodes.get(node)
        assert session is not None
        return session

    def connected(self, node: str = "edge-2") -> int:
        session = self.cloud.nodes.get(node)
        return 0 if session is None else len(session.connections)

    async def open(self) -> Any:
        return await self.cloud.open("edge-2", self.target, timeout=60)

    def carrier(self, stream: Any) -> MuxConnection:
        return next(each for each in self.session().connections if each.session is stream._session)

    async def test_streams_are_spread_and_a_lost_connection_ends_its_own_alone(self) -> None:
        streams = [await self.open() for _ in range(6)]
        self.assertEqual([each.stream_count for each in self.session().connections], [3, 3, 3])
        session, lost = self.session(), self.carrier(streams[0])
        lost.abort("test")
        await self.until(lambda: lost not in session.connections)
        gone = [stream._state.closed for stream in streams]
        self.assertEqual(gone.count(True), 2)
        self.assertEqual(await self.call(self.listener, BIG), BIG[::-1])
        await self.until(lambda: self.connected() == 3)
        self.assertIs(self.session(), session, "it joins the session that is there")
        for stream in streams:
            stream.abortConnection()

    async def test_it_outlives_its_first_connection_and_ends_with_its_last(self) -> None:
        session = self.session()
        session.connections[0].abort("test")
        await self.until(lambda: self.connected() == 3)
        self.assertIs(self.session(), session)
        for connection in list(session.connections):
            connection.abort("test")
        await self.until(lambda: self.connected() == 3 and self.session() is not session)

    async def test_a_connection_whose_sender_is_blocked_gets_no_stream(self) -> None:
        busy = self.session().least_loaded()
        busy.pauseProducing()
        streams = [await self.open() for _ in range(4)]
        self.assertNotIn(busy, [self.carrier(stream) for stream in streams])
        for stream in streams:
            stream.abortConnection()
        busy.resumeProducing()

    async def test_one_that_has_used_up_its_stream_ids_gets_no_stream(self) -> None:
        used_up = self.session().least_loaded()
        used_up.session._next_id = MAX_ID + 1
        streams = [await self.open() for _ in range(4)]
        for stream in streams:
            stream.abortConnection()

    async def test_a_new_process_of_the_node_replaces_all_of_them(self) -> None:
        # The process that is replaced would come back as the newest: not while the test lasts.
        late: dict[str, Any] = {"reconnect_initial": 60.0, "reconnect_maximum": 60.0}
        self.make_edge("edge-3", [self.target], connections=3, **late)
        await self.until(lambda: self.connected("edge-3") == 3)
        session = self.session("edge-3")
        self.make_edge("edge-3", [self.target], connections=2, **late)
        await self.until(lambda: not session.connections)
        await self.until(lambda: self.connected("edge-3") == 2)
        self.assertIsNot(self.session("edge-3"), session)

    async def test_being_sent_away_is_for_the_whole_session(self) -> None:
        session = self.session()
        self.cloud.superseded("edge-2", session.epoch + 1)
        await self.until(lambda: self.connected() == 3 and self.session() is not session)
        self.assertEqual(session.connections, [])


class BandwidthTests(TunnelCase):
    """A limit is a node's, whatever its connections."""

    limits = LimitsConfig(bandwidth=1_000_000)

    async def test_connections_of_a_node_share_it_and_nodes_do_not(self) -> None:
        options: dict[str, Any] = {"connections": 3, "limits": LimitsConfig(bandwidth=500_000)}
        edge = self.make_edge("edge-2", [self.target], **options)

        def ends(node: str) -> list[MuxConnection]:
            session = self.cloud.nodes.get(node)
            return [] if session is None else session.connections

        await self.until(lambda: len(ends("edge-2")) == 3)
        shared = {each.bandwidth for each in ends("edge-2")}
        self.assertEqual(len(shared), 1)
        self.assertNotIn(None, shared)
        self.assertEqual(len({each.bandwidth for each in edge._connections}), 1)
        self.assertIsNotNone(next(iter(edge._connections)).bandwidth)
        self.assertNotIn(ends("edge-1")[0].bandwidth, shared)
        self.assertEqual([each.bandwidth for each in self.edge._connections], [None])
        lost = ends("edge-2")[0]
        lost.abort("test")
        await self.until(lambda: lost not in ends("edge-2") and len(ends("edge-2")) == 3)
        self.assertEqual({each.bandwidth for each in ends("edge-2")}, shared, "who comes back gets no more")
