"""`superedge connect`: standard input and output as a stream to a node, through a ``connect`` listener.

For ssh's ProxyCommand, and whatever else can use a command for a connection.
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
from superedge.cli.errors import reported
from superedge.config.addresses import Address, TCPAddress, UnixAddress, parse_address
from superedge.interfaces import IReactor
from superedge.net.endpoints import ClientEndpoint
from superedge.net.errors import ConnectError
from superedge.net.factory import CallableFactory
from superedge.net.httpproxy import ConnectResponseReader
from superedge.net.splice import Splice, SpliceEnd
from superedge.tls.contexts import ClientContextSource


class _Asking(Protocol):
    """Asks for the target; ``answered`` fires with what came behind a good answer, reading paused."""

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
            cause = getattr(self.transport, "failure_text", None) or "it closed the connection"
            self.answered.errback(ConnectError(cause))


class _Console(StandardIO):
    """Standard input and output; Twisted's leaves both open, and with its output gone never ends."""

    def __init__(self, protocol: SpliceEnd, reactor: IReactor) -> None:
        self._clock = reactor
        self._output_open = True
        super().__init__(cast(Any, protocol), reactor=cast(Any, reactor))

    def childConnectionLost(self, fd: str, reason: Failure) -> None:
        """A half is closed: whoever reads our output is to see it."""
        if fd == "write":
            self._output_open = False
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
        cast(Any, super()).childConnectionLost(fd, reason)

    def loseConnection(self) -> None:
        """Close when what was written is out."""
        super().loseConnection()
        if not self._output_open:
            self._clock.callLater(0, self._closed)

    def _closed(self) -> None:
        if not self.disconnected:
            cast(Any, self).connectionLost(Failure(ConnectionDone()))


class _Target(click.ParamType[Address]):
    """An address of a listener."""

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
    """Connect, and pass bytes until both sides have ended. Raises SuperEdgeError."""
    asking = _Asking(target)
    endpoint = ClientEndpoint(reactor, listener, tls, name)
    await endpoint.connect(cast(Any, CallableFactory(lambda: asking)))
    try:
        early = await asking.answered
    except ConnectError as problem:
        raise ConnectError(f"{target} through {listener}: {problem}") from None
    pair = Splice()
    near = _Console(pair.left, reactor)
    near.write(early)
    asking.transport.protocol = pair.right
    pair.right.makeConnection(asking.transport)
    await pair.done


_file = click.Path(path_type=Path)


@click.command()
@click.argument("listener", type=_Target())
@click.argument("host")
@click.argument("port", type=click.IntRange(1, 65535))
@click.option("--certificate", type=_file, help="Client certificate, for a listener on TCP.")
@click.option("--key", type=_file, help="Its private key.")
@click.option(
    "--ca", type=_file, multiple=True, help="CA of the listener's certificate; may be given more than once."
)
@click.option(
    "--server-name", help="The name in the listener's certificate, if it is not the listener's host."
)
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

    LISTENER is host:port, with --certificate, --key and --ca, or unix:/path. For ssh's ProxyCommand and other
    programs that use a command as a connection.
    """
    tls = None
    if not isinstance(listener, UnixAddress):
        if certificate is None or key is None or not ca:
            raise click.UsageError("a listener on TCP needs --certificate, --key and --ca")
        tls = ClientContextSource(ca, certificate, key)
    program = click.get_current_context().command_path

    async def run(reactor: IReactor) -> None:
        with reported(program):
            await _stream(reactor, listener, TCPAddress(host, port), tls, server_name)

    react(lambda reactor: Deferred.fromCoroutine(run(cast(IReactor, reactor))))


def main() -> None:
    """The console script `superedge-connect`."""
    with reported("superedge-connect"):
        connect(prog_name="superedge-connect")


if __name__ == "__main__":
    main()
