"""An edge's session with one server, which keeps the configured number of connections."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from secrets import token_hex
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.logger import Logger

from superedge.interfaces import IReactor
from superedge.mux.errors import SessionClosed, StreamRefused
from superedge.mux.protocol import MuxConnection
from superedge.net.errors import ConnectError, ConnectTimeout
from superedge.net.sockets import address_text
from superedge.reactor.loops import Loop
from superedge.tunnel.messages import Hello, MessageError, MessageReader, Notice, decode, encode
from superedge.tunnel.redial import Redial
from superedge.tunnel.serve import MAX_REASON

_log = Logger()


class _ControlProtocol(Protocol):
    """The edge's end of a control stream: sends the hello and receives notices."""

    transport: Any

    def __init__(self, hello: Hello, on_notice: Callable[[Notice], None]) -> None:
        self._hello = hello
        self._on_notice = on_notice
        self._reader: MessageReader[Notice] = MessageReader()

    def connectionMade(self) -> None:
        self.transport.write(encode(self._hello))

    def dataReceived(self, data: bytes) -> None:
        try:
            while (message := self._reader.feed(data)) is not None:
                body, data = message
                self._on_notice(decode(Notice, body))
        except MessageError as problem:
            _log.warn("control stream ended: {reason}", reason=str(problem))
            self.transport.abortConnection()


class EdgeSession:
    """The first connection starts the session, and further connections join it.

    ``ended`` fires with True when the cloud asks to connect elsewhere, with False when no connection is left.
    Connections that the cloud drains stay open until it closes them.

    Args:
        dial: opens a further connection to the same server; fails with ConnectError.
        hello: makes a connection's hello from the session id and whether the connection joins.
        on_connected: called with each new connection.
        on_lost: called with each connection that has ended, and what the cloud said of it, or nothing.
        on_refused: called with a connection that ended before the cloud began a session, and the reason.
    """

    def __init__(
        self,
        reactor: IReactor,
        dial: Callable[[], Deferred[MuxConnection]],
        hello: Callable[[str, bool], Hello],
        redial: Callable[[], Redial],
        on_connected: Callable[[MuxConnection], None],
        on_lost: Callable[[MuxConnection, str], None],
        on_refused: Callable[[MuxConnection, str], None],
    ) -> None:
        self.ended: Deferred[bool] = Deferred()
        self._id = token_hex(16)
        self._reactor = reactor
        self._dial = dial
        self._hello = hello
        self._redial = redial
        self._on_connected = on_connected
        self._on_lost = on_lost
        self._on_refused = on_refused
        self._active: set[MuxConnection] = set()
        self._told: dict[MuxConnection, str] = {}
        """Why the cloud ends a connection, in its words."""
        self._loops: list[Loop] = []

    def begin(self, first: MuxConnection, count: int) -> None:
        """Send the first connection's hello, and keep ``count`` connections."""
        self._introduce(first, joins=False)
        first.when_established().addCallback(self._established, first, count)

    def _established(self, heard: bool, first: MuxConnection, count: int) -> None:
        if not heard or self.ended.called:
            return
        first.when_closed().addCallback(self._first_ended)
        for _ in range(count - 1):
            self._add_connection()

    def _first_ended(self, _reason: str) -> None:
        if not self.ended.called:
            self._add_connection()

    def stop(self) -> None:
        """Dial no more."""
        loops, self._loops = self._loops, []
        for loop in loops:
            loop.stop()

    def _introduce(self, connection: MuxConnection, joins: bool) -> None:
        self._active.add(connection)
        self._on_connected(connection)
        connection.when_closed().addCallback(self._ended, connection)
        connection.on_going_away = lambda: self._leave(connection, "it takes no more streams")

        def noticed(notice: Notice) -> None:
            if notice.notice == "drain":
                self._leave(connection, notice.message)
            elif notice.notice in ("replaced", "refused"):
                self._told[connection] = notice.message[:MAX_REASON]

        with contextlib.suppress(SessionClosed, StreamRefused):  # when_closed fires in this case
            connection.open().connect(_ControlProtocol(self._hello(self._id, joins), noticed))

    def _leave(self, connection: MuxConnection, message: str) -> None:
        """The cloud drains a connection. When all are drained, the session ends."""
        self._active.discard(connection)
        if not self._active and not self.ended.called:
            _log.info("the cloud asks to connect elsewhere: {notice}", notice=message)
            self._finish(drained=True)

    def _ended(self, reason: str, connection: MuxConnection) -> None:
        told = self._told.pop(connection, "")
        reason = told or getattr(connection.transport, "failure_text", None) or reason
        peer = address_text(connection.peer)
        if not connection.established:
            self._on_refused(connection, reason)
        elif told:
            _log.warn("the cloud ended the tunnel session: {reason}", reason=reason, peer=peer)
        else:
            _log.info("tunnel connection ended: {reason}", reason=reason, peer=peer)
        self._on_lost(connection, told)
        self._active.discard(connection)
        if not self._active and not self.ended.called:
            self._finish(drained=False)

    def _finish(self, drained: bool) -> None:
        self.stop()
        self.ended.callback(drained)

    def _add_connection(self) -> None:
        loop = Loop(self._reactor, "dialling a further connection of the tunnel", self._keep_connected)
        self._loops.append(loop)
        loop.start()

    async def _keep_connected(self) -> None:
        redial = self._redial()
        while True:
            try:
                connection = await self._dial()
            except ConnectError as problem:
                _log.warn("a further tunnel connection failed: {reason}", reason=str(problem))
                delay = redial.failed(self._reactor.seconds(), not isinstance(problem, ConnectTimeout))
            else:
                started = self._reactor.seconds()
                self._introduce(connection, joins=True)
                await connection.when_closed()
                now = self._reactor.seconds()
                delay = redial.ended(now, now - started, connection.rtt is not None)
            await deferLater(self._reactor, delay)
