"""Whether an HTTP server answers. Connections are kept from one check to the next."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgspec
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from superedge.config.addresses import TCPAddress
from superedge.errors import ConfigError, SuperEdgeError
from superedge.interfaces import IHealthChecker, IReactor
from superedge.net.endpoints import ClientEndpoint, ContextSource
from superedge.net.errors import ConnectError
from superedge.net.factory import CallableFactory
from superedge.tls.contexts import ClientContextSource
from superedge.web.channels import SwitchedConnection
from superedge.web.client import H1Connection
from superedge.web.heads import Headers, ResponseHead, request_head

MAX_IDLE = 512
"""Connections that are kept, one a server."""
MAX_BODY = 256 * 1024
"""Bytes of an answer beyond which its connection is not used again."""


class Unwell(SuperEdgeError):
    """What answered is not well."""


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a probe's table ``options`` may have."""

    path: str = "/"
    host: str = ""
    ca: list[str] = []
    server_name: str = ""


class _Status:
    """Takes an answer's status."""

    def __init__(self, connection: H1Connection) -> None:
        self.done: Deferred[int] = Deferred(lambda _: connection.abandon())
        self._connection = connection
        self._status = 0
        self._size = 0
        self._complete = False

    def response(self, head: ResponseHead) -> None:
        self._status = head.status

    def data(self, pieces: list[bytes]) -> None:
        self._size += sum(map(len, pieces))
        if self._size > MAX_BODY:
            self._connection.abandon()
            self._fire()

    def complete(self, trailers: Headers) -> None:
        self._complete = True

    def read_complete(self) -> None:
        if self._complete:
            self._fire()

    def _fire(self) -> None:
        if not self.done.called:
            self.done.callback(self._status)

    def switched(self, connection: SwitchedConnection, rest: bytes) -> None:
        connection.transport.abortConnection()
        self._fire()

    def failed(self, reason: str) -> None:
        if not self.done.called:
            self.done.errback(Failure(ConnectError(reason)))


@implementer(IHealthChecker)
class WebChecker:
    """Asks for a path. ``tls`` is None for plain HTTP; ``well`` says which statuses are good."""

    def __init__(
        self,
        reactor: IReactor,
        options: Options,
        tls: ContextSource | None,
        well: Callable[[int], bool],
        method: bytes = b"GET",
    ) -> None:
        self._reactor = reactor
        self._options = options
        self._tls = tls
        self._well = well
        self._method = method
        self._idle: dict[TCPAddress, H1Connection] = {}
        self._connections: set[H1Connection] = set()

    async def check(self, host: str, port: int, timeout: float) -> None:
        """Raises ConnectError, Unwell."""
        status, _ = await self.ask(host, port, timeout)
        if not self._well(status):
            raise Unwell(f"{TCPAddress(host, port)}{self._options.path} answers {status}")

    async def ask(self, host: str, port: int, timeout: float) -> tuple[int, bytes]:
        """The status, and the server's certificate, DER, empty without TLS. Raises ConnectError."""
        address = TCPAddress(host, port)
        head = request_head(
            self._method,
            self._options.path.encode(),
            [(b"Host", (self._options.host or str(address)).encode())],
        )
        idle = self._idle.pop(address, None)
        if idle is not None and idle.usable:
            # One that was closed meanwhile says nothing of the server.
            with contextlib.suppress(ConnectError):
                return await self._exchange(idle, head)
        name = self._options.server_name or None
        endpoint = ClientEndpoint(self._reactor, address, self._tls, name, timeout)
        made = await endpoint.connect(cast(Any, CallableFactory(lambda: self._connection(address))))
        return await self._exchange(cast(H1Connection, made), head)

    def _connection(self, address: TCPAddress) -> H1Connection:
        connection = H1Connection(partial(self._released, address))
        connection.lost = self._connections.discard
        self._connections.add(connection)
        return connection

    def _released(self, address: TCPAddress, connection: H1Connection) -> None:
        before = self._idle.pop(address, None)
        if before is None and len(self._idle) >= MAX_IDLE:
            before = self._idle.pop(next(iter(self._idle)))
        if before is not None and before.usable:
            before.abandon()
        if connection.usable:
            self._idle[address] = connection

    async def _exchange(self, connection: H1Connection, head: bytes) -> tuple[int, bytes]:
        certificate = connection.transport.peer_der() if self._tls is not None else b""
        receiver = _Status(connection)
        connection.request(head, self._method == b"HEAD", True, receiver)
        return await receiver.done, certificate

    def close(self) -> None:
        """Close every connection."""
        self._idle.clear()
        for connection in list(self._connections):
            connection.abandon()


def read_options(kind: str, options: Mapping[str, Any]) -> Options:
    """Raises ConfigError."""
    try:
        return msgspec.convert(dict(options), Options)
    except msgspec.ValidationError as problem:
        raise ConfigError(f"edge_health.probes of kind {kind}", "options", str(problem)) from problem


def _succeeded(status: int) -> bool:
    return 200 <= status < 400


def http_checker(reactor: IReactor, options: Mapping[str, Any]) -> WebChecker:
    """2xx and 3xx are good. Options: path, host (the header)."""
    return WebChecker(reactor, read_options("http", options), None, _succeeded)


def https_checker(reactor: IReactor, options: Mapping[str, Any]) -> WebChecker:
    """As http; options also ca (required) and server_name."""
    found = read_options("https", options)
    if not found.ca:
        raise ConfigError("edge_health.probes of kind https", "options.ca", "must name at least one file")
    return WebChecker(reactor, found, ClientContextSource([Path(path) for path in found.ca]), _succeeded)
