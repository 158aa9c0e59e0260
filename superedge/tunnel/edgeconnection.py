"""A node's connection at the cloud end: its certificate is checked, then its hello is awaited."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from typing import Protocol as TypingProtocol

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from superedge.mux.protocol import MuxConnection
from superedge.net.sockets import address_text
from superedge.tunnel import metrics
from superedge.tunnel.messages import Hello, MessageError, MessageReader, Notice, decode, encode
from superedge.tunnel.names import ALPN, NameRules, NotANode
from superedge.tunnel.nodetable import NodeSession
from superedge.tunnel.serve import MAX_REASON

_SHORT_NAMES = {"commonName": "CN", "organizationName": "O", "organizationalUnitName": "OU"}
_log = Logger()


class EdgeConnectionService(TypingProtocol):
    """What a node's connection needs of `superedge.tunnel.cloud.TunnelCloud`."""

    names: NameRules

    def admits(self, transport: Any) -> bool:
        """Whether a node's certificate is not denied."""

    def refused(self, node: str, reason: str) -> None:
        """A certificate of the node is denied."""

    def connected(self, connection: EdgeConnection) -> None:
        """The node's certificate is accepted."""

    def hello_received(self, connection: EdgeConnection, hello: Hello) -> None:
        """The node has sent its hello."""


class ControlProtocol(Protocol):
    """The cloud's end of the control stream."""

    transport: Any

    def __init__(self, connection: EdgeConnection) -> None:
        self._connection = connection
        self._reader: MessageReader[Hello] = MessageReader()

    def connectionMade(self) -> None:
        self._connection.control = self.transport

    def dataReceived(self, data: bytes) -> None:
        connection = self._connection
        try:
            message = self._reader.feed(data)
            if message is not None and connection.deadline is not None:
                connection.service.hello_received(connection, decode(Hello, message[0]))
        except MessageError as problem:
            connection.dismiss(f"bad hello: {problem}")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """A session may go on without its control stream."""


class EdgeConnection(MuxConnection):
    """A connection whose certificate and hello are checked before it carries streams."""

    service: EdgeConnectionService
    node = ""
    epoch = 0
    node_session: NodeSession | None = None
    control: Any = None
    """The control stream, once the edge has opened it."""
    deadline: IDelayedCall | None = None
    """The timeout of the hello; None once the hello has come."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        reason = ""
        try:
            node = self.service.names.node_of(transport.peer_common_name, transport.peer_organizations)
        except NotANode as problem:
            reason = str(problem)
        else:
            if transport.alpn != ALPN:
                reason = "wrong ALPN"
            elif not self.service.admits(transport):
                reason = f"the certificate of {node} is denied"
                self.service.refused(node, reason)
        if reason:
            metrics.SESSIONS_REFUSED.labels("cloud").inc()
            _log.warn(
                "refused tunnel connection from {peer}: {reason}",
                peer=address_text(transport.getPeer()),
                reason=f"{reason}: {_certificate_text(transport.peer_certificate)}",
            )
            if transport.alpn == ALPN:
                self.refuse(encode(Notice("refused", reason[:MAX_REASON])), reason)
            else:
                transport.abortConnection()
            return
        super().connectionMade()
        self.node = node
        self.service.connected(self)

    def dismiss(self, reason: str) -> None:
        """Tell the edge why, and end the connection."""
        if self.control is not None:
            self.control.write(encode(Notice("refused", reason[:MAX_REASON])))
        self.close(reason)


def _certificate_text(certificate: Mapping[str, Any]) -> str:
    """Subject and issuer of a certificate from `ssl.SSLObject.getpeercert`."""

    def name(part: str) -> str:
        pairs = [pair for group in certificate.get(part, ()) for pair in group]
        return ", ".join(f"{_SHORT_NAMES.get(key, key)}={value}" for key, value in pairs) or "none"

    return f"subject {name('subject')!r}, issuer {name('issuer')!r}"
