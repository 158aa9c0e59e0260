"""`superedge connect`: connects standard input and output to a node, through a ``connect`` listener.

For ssh's ProxyCommand, and other programs that use a command as a connection.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, cast

import click
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.internet.task import react
from twisted.python.failure import Failure

from superedge import __version__
from superedge.cli.errors import exit_on_error
from superedge.config.addresses import Address, TCPAddress, UnixAddress, parse_address
from superedge.interfaces import IReactor
from superedge.net.endpoints import ClientEndpoint
from superedge.net.errors import ConnectError
from superedge.net.factory import CallableFactory
from superedge.net.httpproxy import ConnectResponseReader
from superedge.net.splice import Splice, SpliceEnd
from superedge.tls.contexts import ClientContextSource


class _TargetRequest(Protocol):
    """Sends a CONNECT request. ``answered`` fires with the bytes after the response, and pauses reading."""

    transport: Any

    def __init__(self, target: TCPAddress) -> None:
        self._target = target
        self._answer = ConnectResponseReader()
        self.answered: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(f"CONNECT {self._target} HTTP/1.1\r\nHost: {self._target}\r\n\r\n".encode())

    def dataReceived(self, data: bytes) -> None:
        try:
            rest = self._answer.feed(data)
        except ConnectError as problem:
            if not self.answered.called:
                self.answered.errback(problem)
            self.transport.loseConnection()
            return
        if rest is not None:
            self.transport.pauseProducing()
            self.answered.callback(rest)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.answered.called:
            cause = getattr(self.transport, "failure_text", None) or "the listener closed the connection"
            self.answered.errback(ConnectError(cause))


class _Console(StandardIO):
    """Standard input and output. Twisted's class leaves both open, and never ends if the output closes."""

    def __init__(self, protocol: SpliceEnd, reactor: IReactor) -> None:
        self._clock = reactor
        self._output_open = True
        super().__init__(cast(Any, protocol), reactor=cast(Any, reactor))

    def childConnectionLost(self, fd: str, reason: Failure) -> None:
        """One half is closed. Close standard output so that its reader notices."""
        if fd == "write":
            self._output_open = False
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
        cast(Any, super()).childConnectionLost(fd, reason)

    def loseConnection(self) -> None:
        """Close after everything has been written."""
        super().loseConnection()
        if not self._output_open:
            self._clock.callLater(0, self._closed)

    def _closed(self) -> None:
        if not self.disconnected:
            cast(Any, self).connectionLost(Failure(ConnectionDone()))


class _Target(click.ParamType[Address]):
    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        try:
            return parse_address(value)
        except ValueError as problem:
            self.fail(str(problem), param, ctx)


async def _stream(
    reactor: IReactor,
    listener: Address,
    target: TCPAddress,
    tls: ClientContextSource | None,
    name: str | None,
) -> None:
    """Connect, and forward bytes until both sides have ended. Raises SuperEdgeError."""
    request = _TargetRequest(target)
    endpoint = ClientEndpoint(reactor, listener, tls, name)
    await endpoint.connect(cast(Any, CallableFactory(lambda: request)))
    try:
        early = await request.answered
    except ConnectError as problem:
        raise ConnectError(f"{target} through {listener}: {problem}") from None
    pair = Splice()
    near = _Console(pair.left, reactor)
    near.write(early)
    request.transport.protocol = pair.right
    pair.right.makeConnection(request.transport)
    await pair.done


_file = click.Path(path_type=Path)


@click.command()
@click.argument("listener", type=_Target())
@click.argument("host")
@click.argument("port", type=click.IntRange(1, 65535))
@click.option("--certificate", type=_file, help="Client certificate for a TCP listener.")
@click.option("--key", type=_file, help="Private key of the certificate.")
@click.option("--ca", type=_file, multiple=True, help="CA of the listener's certificate. May be repeated.")
@click.option("--server-name", help="Name in the listener's certificate, if it differs from its host.")
@click.version_option(__version__, message="%(prog)s %(version)s")
def connect(
    listener: Address,
    host: str,
    port: int,
    certificate: Path | None,
    key: Path | None,
    ca: tuple[Path, ...],
    server_name: str | None,
) -> None:
    """Connect standard input and output to PORT of the node HOST, through the connect listener LISTENER.

    LISTENER is unix:/path, or host:port together with --certificate, --key and --ca. Use it as ssh's
    ProxyCommand, or for other programs that use a command as a connection.
    """
    tls = None
    if not isinstance(listener, UnixAddress):
        if certificate is None or key is None or not ca:
            raise click.UsageError("a TCP listener needs --certificate, --key and --ca")
        tls = ClientContextSource(ca, certificate, key)
    program = click.get_current_context().command_path

    async def run(reactor: IReactor) -> None:
        with exit_on_error(program):
            await _stream(reactor, listener, TCPAddress(host, port), tls, server_name)

    react(lambda reactor: Deferred.fromCoroutine(run(cast(IReactor, reactor))))


def main() -> None:
    """The console script `superedge-connect`."""
    with exit_on_error("superedge-connect"):
        connect(prog_name="superedge-connect")


if __name__ == "__main__":
    main()
