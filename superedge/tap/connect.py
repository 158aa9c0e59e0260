"""``superedge-connect``: standard input and output as a stream to a node, through a ``connect`` listener.

For ssh's ProxyCommand, and whatever else can use a command for a connection.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.internet.task import react
from twisted.python.failure import Failure

from superedge import __version__
from superedge.config.addresses import Address, TCPAddress, UnixAddress, parse_address
from superedge.errors import SuperEdgeError
from superedge.interfaces import IReactor
from superedge.net.endpoints import ClientEndpoint
from superedge.net.errors import ConnectError
from superedge.net.factory import MakingFactory
from superedge.net.proxy import ProxyAnswer
from superedge.net.splice import Splice, SpliceEnd
from superedge.tls.contexts import ClientContextSource


class _Asking(Protocol):
    """Asks for the target; ``answered`` fires with what came behind a good answer, reading paused."""

    transport: Any

    def __init__(self, target: TCPAddress) -> None:
        self._target = target
        self._answer = ProxyAnswer()
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


async def run(reactor: IReactor, options: argparse.Namespace) -> None:
    """Connect, and pass bytes until both sides have ended. Raises SuperEdgeError."""
    tls = None
    if not isinstance(options.listener, UnixAddress):
        tls = ClientContextSource(options.ca, options.certificate, options.key)
    asking = _Asking(TCPAddress(options.host, options.port))
    endpoint = ClientEndpoint(reactor, options.listener, tls, options.server_name)
    await endpoint.connect(cast(Any, MakingFactory(lambda: asking)))
    try:
        early = await asking.answered
    except ConnectError as problem:
        raise ConnectError(f"{options.host}:{options.port} through {options.listener}: {problem}") from None
    pair = Splice()
    near = _Console(pair.left, reactor)
    near.write(early)
    asking.transport.protocol = pair.right
    pair.right.makeConnection(asking.transport)
    await pair.done


def _listener(text: str) -> Address:
    try:
        return parse_address(text)
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 1 to 65535")
    return int(text)


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line; SystemExit with a sentence on standard error when it is none."""
    parser = argparse.ArgumentParser(
        prog="superedge-connect",
        description="Standard input and output as a stream to a node, through a connect listener.",
    )
    parser.add_argument("listener", type=_listener, help="host:port, or unix:/path")
    parser.add_argument("host", help="the node")
    parser.add_argument("port", type=_port, help="the port on the node")
    parser.add_argument("--certificate", type=Path, help="client certificate, on TCP")
    parser.add_argument("--key", type=Path, help="its private key")
    parser.add_argument("--ca", type=Path, action="append", help="CA of the listener's certificate, on TCP")
    parser.add_argument("--server-name", help="name of the listener's certificate, if not its host")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    options = parser.parse_args(arguments)
    if not isinstance(options.listener, UnixAddress) and not (
        options.certificate and options.key and options.ca
    ):
        parser.error("a listener on TCP wants --certificate, --key and --ca")
    return options


def main() -> None:
    """Entry point."""
    options = parse_arguments(sys.argv[1:])

    async def guarded(reactor: IReactor) -> None:
        try:
            await run(reactor, options)
        except SuperEdgeError as problem:
            sys.exit(f"superedge-connect: {problem}")

    react(lambda reactor: Deferred.fromCoroutine(guarded(cast(IReactor, reactor))))


if __name__ == "__main__":
    main()
