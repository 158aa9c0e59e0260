"""The edge's stream handlers: they connect streams to allowed TCP targets, with TLS or without."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.protocol import Factory, Protocol
from twisted.plugin import IPlugin
from zope.interface import implementer

from superedge.config.addresses import TCPAddress, parse_address
from superedge.interfaces import IReactor, IStreamHandler
from superedge.net.connecting import connect_with_timeout
from superedge.net.endpoints import ClientEndpoint, ContextSource
from superedge.net.errors import ConnectError, ConnectTimeout, ResolveError
from superedge.net.resolve import resolve
from superedge.net.sockets import peer_sockaddr
from superedge.net.transport import StreamTransport
from superedge.tunnel.allow import AllowList
from superedge.tunnel.errors import DialError

MIN_SHARE = 0.1
"""Seconds that each address of a name gets of a dial's timeout, at least."""


class _Placeholder(Protocol):
    """The protocol of a target's transport until the splice: it pauses the transport."""

    def connectionMade(self) -> None:
        cast(Any, self.transport).pauseProducing()


class _Targets(Factory):
    protocol = _Placeholder
    noisy = False


@implementer(IPlugin, IStreamHandler)
class TCPHandler:
    """Handles streams of kind ``tcp``: connects to targets that the allow list covers."""

    kind = "tcp"

    def __init__(self, allow: AllowList) -> None:
        self._allow = allow
        self._literal = lru_cache(maxsize=1024)(self._allowed_literal)

    async def connect(self, reactor: IReactor, request: Mapping[str, Any], timeout: float) -> Any:
        """A paused transport connected to ``request["address"]``. Raises DialError."""
        text = request["address"]
        literal = self._literal(text)
        try:
            if literal is not None:
                return await self._dial(reactor, literal, text, timeout)
            end = reactor.seconds() + timeout
            targets = await self._resolved(reactor, text, timeout)
            for number, target in enumerate(targets[:-1]):
                share = (end - reactor.seconds()) / (len(targets) - number)
                with contextlib.suppress(ConnectError):
                    return await self._dial(reactor, target, text, max(share, MIN_SHARE))
            return await self._dial(reactor, targets[-1], text, max(end - reactor.seconds(), MIN_SHARE))
        except ConnectTimeout as problem:
            raise DialError("timeout", str(problem)) from problem
        except ConnectError as problem:
            raise DialError("refused", str(problem)) from problem

    async def _dial(self, reactor: IReactor, target: TCPAddress, asked: str, timeout: float) -> Any:
        sock = await connect_with_timeout(reactor, target, timeout)
        # The transport does not read before the splice replaces this protocol.
        return StreamTransport(sock, Protocol(), reactor, peer_sockaddr(sock))

    def _allowed_literal(self, text: str) -> TCPAddress | None:
        """The address if it is an IP literal that the allow list covers."""
        try:
            address = parse_address(text)
            covered = isinstance(address, TCPAddress) and self._allow.allows_address(address)
        except ValueError:
            return None
        return cast(TCPAddress, address) if covered else None

    async def _resolved(self, reactor: IReactor, text: str, timeout: float) -> Sequence[TCPAddress]:
        """The allowed addresses of ``text``. Only these are dialled: the name is not resolved again."""
        try:
            address = parse_address(text)
        except ValueError as problem:
            raise DialError("denied", str(problem)) from problem
        if not isinstance(address, TCPAddress):
            raise DialError("denied", f"{text} is not host:port")
        by_name = self._allow.allows_name(address)
        try:
            hosts = await Deferred.fromCoroutine(resolve(reactor, address.host)).addTimeout(timeout, reactor)
        except ResolveError as problem:
            raise DialError("unresolvable", str(problem)) from problem
        except TimeoutError as problem:
            reason = f"no name server answered for {address.host} within {timeout:g} s"
            raise DialError("timeout", reason) from problem
        found = [TCPAddress(host, address.port) for host in hosts]
        targets = [target for target in found if by_name or self._allow.allows_address(target)]
        if not targets:
            raise DialError("denied", f"the node's allow list does not name {text}")
        return targets


class TLSHandler(TCPHandler):
    """Handles streams of kind ``tls``: the node speaks TLS to the target, and the stream carries
    plaintext."""

    kind = "tls"

    def __init__(self, allow: AllowList, tls: ContextSource, server_name: str) -> None:
        """``server_name`` is the name that targets' certificates must carry; empty for the dialled host."""
        super().__init__(allow)
        self._tls = tls
        self._server_name = server_name

    async def _dial(self, reactor: IReactor, target: TCPAddress, asked: str, timeout: float) -> Any:
        name = self._server_name or asked.rpartition(":")[0].strip("[]")
        endpoint = ClientEndpoint(reactor, target, self._tls, name, timeout)
        protocol: Any = await endpoint.connect(cast(Any, _Targets()))
        return protocol.transport
