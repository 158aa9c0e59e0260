"""Links between nodes over mutual TLS: listens for peers and dials them.

Both ends have a certificate. A link belongs to the node that its peer's certificate names.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure

from superedge.config.addresses import TCPAddress, parse_address
from superedge.health import metrics
from superedge.health.edge.exchange import LINKS, Exchange
from superedge.health.protocol import HealthProtocol
from superedge.health.votes.messages import Member
from superedge.health.votes.signing import NodeOf
from superedge.interfaces import IReactor
from superedge.net.endpoints import ClientEndpoint, ServerEndpoint
from superedge.net.errors import ConnectError
from superedge.net.factory import CallableFactory
from superedge.net.sockets import address_text
from superedge.tls.contexts import ClientContextSource, ServerContextSource
from superedge.tls.reload import FileWatcher
from superedge.tls.x509 import Certificate

ALPN = "superedge-health/1"
CONNECT_TIMEOUT = 5.0

_log = Logger()


class PeerContexts(ClientContextSource):
    """Verifies the chain and no host name; `PeerLinks` compares the certificate's common name."""

    def _make(self, alpn: tuple[str, ...]) -> tuple[ssl.SSLContext, list[Certificate]]:
        context, authorities = super()._make(alpn)
        context.check_hostname = False
        return context, authorities


class PeerLinks(Service):
    """Accepts and dials links for an `Exchange`."""

    name = "health-links"

    def __init__(
        self,
        reactor: IReactor,
        exchange: Exchange,
        listen: str,
        certificate: Path,
        key: Path,
        ca: Sequence[Path],
        watcher: FileWatcher,
        node_of: NodeOf,
    ) -> None:
        """Raises IdentityError."""
        self._reactor = reactor
        self._exchange = exchange
        self._listen = parse_address(listen)
        self._server_tls = ServerContextSource(certificate, key, ca, "required", [ALPN])
        self._client_tls = PeerContexts(ca, certificate, key, [ALPN])
        for source in (self._server_tls, self._client_tls):
            watcher.watch_context(source)
        self._node_of = node_of
        self._listening: IListeningPort | None = None
        self._dials: set[Deferred[Any]] = set()

    @property
    def address(self) -> Any:
        """The address on which it listens."""
        assert self._listening is not None
        return self._listening.getHost()

    def startService(self) -> None:
        """Listen. Raises ConnectError when the address is not available."""
        super().startService()
        endpoint = ServerEndpoint(self._reactor, self._listen, self._server_tls, _refused)
        self._listening = endpoint.listen_now(cast(Any, CallableFactory(self._incoming)))
        _log.info("listening for links of other nodes on {address}", address=address_text(self.address))

    def stopService(self) -> None:
        """Stop listening and dialling."""
        super().stopService()
        if self._listening is not None:
            self._listening.stopListening()
        for dial in list(self._dials):
            dial.cancel()

    def _incoming(self) -> HealthProtocol:
        connection = self._exchange.link()
        connection.admit = partial(self._admit, expected=None)
        return connection

    def _admit(self, connection: HealthProtocol, expected: str | None) -> str | None:
        """Why the link is refused, or None, after the exchange took it."""
        transport = connection.transport
        serial = int(transport.peer_certificate.get("serialNumber", "0"), 16)
        node = self._node_of(transport.peer_common_name, transport.peer_organizations, serial)
        fault = None
        if transport.alpn != ALPN:
            fault = f"it did not negotiate the protocol {ALPN}"
        elif node is None or not self._exchange.admits(node):
            fault = f"{transport.peer_common_name!r} is no other node of this unit, or has {LINKS} links"
        elif expected not in (None, node):
            fault = f"the address of {expected} belongs to {node}"
        else:
            self._exchange.up(connection, node)
        if fault is not None:
            _refused(transport.getPeer(), fault)
        return fault

    def dial(self, member: Member, failed: Callable[[str], None]) -> None:
        """As `superedge.health.edge.exchange.Dialler` says."""
        connection = self._exchange.link()
        connection.admit = partial(self._admit, expected=member.name)
        endpoint = ClientEndpoint(
            self._reactor,
            TCPAddress(member.host, member.port),
            self._client_tls,
            member.name,
            CONNECT_TIMEOUT,
        )
        attempt = endpoint.connect(cast(Any, CallableFactory(lambda: connection)))
        self._dials.add(attempt)

        def ended(result: Any) -> None:
            self._dials.discard(attempt)
            if isinstance(result, Failure):
                if result.check(ConnectError) is None and self.running:
                    _log.failure("dialling {peer} failed", result, peer=member.name)
                failed(result.getErrorMessage())
            elif not self._exchange.has(connection):
                failed("it is not the node that was dialled")

        attempt.addBoth(ended)


def _refused(peer: Any, reason: str) -> None:
    metrics.LINKS_REFUSED.inc()
    _log.info("refused a link with {peer}: {reason}", peer=address_text(peer), reason=reason)
