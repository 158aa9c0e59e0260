"""The base of every kind of listener: access by network, and the splice to a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableProtocol,
    IListeningPort,
    IPushProducer,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from superedge.config.addresses import parse_address
from superedge.config.listeners import BaseListenerConfig
from superedge.interfaces import IReactor
from superedge.mux.stream import MuxStream
from superedge.net.endpoints import ContextSource, ServerEndpoint
from superedge.net.names import strip_suffix
from superedge.net.networks import Networks
from superedge.net.sockets import address_text
from superedge.net.splice import Splice
from superedge.net.throttling import BandwidthLimit, ThrottledProducer
from superedge.reactor.task import Task
from superedge.tunnel import metrics
from superedge.tunnel.cloud import Tunnel
from superedge.tunnel.errors import DialError
from superedge.tunnel.listeners.idle import IdleWatch

_log = Logger()


MAX_EARLY_DATA = 64 * 1024
"""Most bytes of a caller that are kept before its stream is opened."""
_TRY_NEXT_TARGET = frozenset({"refused", "denied", "unresolvable"})
"""Dial errors after which another target of the same node is tried."""


def caller_name(transport: Any) -> str:
    """Identifies a caller for sharing dial slots: its certificate's common name, or its address."""
    name = getattr(transport, "peer_common_name", None)
    return str(name or getattr(transport.getPeer(), "host", "unix"))


class CallerProtocol(Protocol):
    """A caller's connection until it is spliced."""

    transport: Any
    caller_waits = False
    """Whether callers wait for an answer before they send data.

    Such a caller has left if it sends FIN first.
    """

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self._opening: Task | None = None

    def route(
        self, node: str, target: str, early: bytes = b"", kind: str = "tcp", others: Sequence[str] = ()
    ) -> None:
        """Open a stream to ``target`` on ``node``, and splice; ``early`` is sent first.

        Bytes that the caller sends meanwhile do not wait for the node's answer. When the node cannot reach a
        target, the next of ``others`` is tried.
        """
        opening = _OpeningProtocol(self, early)
        self.transport.protocol = opening
        if not self.caller_waits:
            self.transport.pauseProducing()
        self._opening = Task(self._route(node, [target, *others], opening, kind), self._failed_unexpectedly)

    async def _route(self, node: str, targets: Sequence[str], opening: _OpeningProtocol, kind: str) -> None:
        try:
            stream = await self._open(node, targets, opening, kind)
        except DialError as problem:
            opening.refused = True
            self.failed(problem)
            return
        self.opened(stream)
        opening.splice(stream)

    async def _open(
        self, node: str, targets: Sequence[str], opening: _OpeningProtocol, kind: str
    ) -> MuxStream:
        listener, caller = self.listener, caller_name(self.transport)
        for target in targets[:-1]:
            try:
                stream = await listener.tunnel.open(
                    node, target, timeout=listener.dial_timeout, kind=kind, caller=caller
                )
            except DialError as problem:
                if problem.code not in _TRY_NEXT_TARGET:
                    raise
            else:
                self.reached(node, target)
                return stream
        stream = await listener.tunnel.open(
            node,
            targets[-1],
            timeout=listener.dial_timeout,
            kind=kind,
            on_stream=opening.begin,
            caller=caller,
        )
        self.reached(node, targets[-1])
        return stream

    def reached(self, node: str, target: str) -> None:
        """The node has connected to ``target``."""

    def opened(self, stream: MuxStream) -> None:
        """The stream is open. A protocol with an answer for that sends it."""

    def failed(self, problem: DialError) -> None:
        """The stream could not be opened: end the connection."""
        self.transport.abortConnection()

    def _failed_unexpectedly(self, failure: Failure) -> None:
        _log.failure("a caller of listener {kind} was dropped", failure, kind=self.listener.kind)
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The caller has disconnected: cancel the opening of its stream."""
        if self._opening is not None:
            self._opening.cancel()


class RequestCaller(CallerProtocol):
    """A caller whose first bytes name the target. They must come within ``request_timeout`` seconds."""

    request_timeout = 10.0
    _deadline: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Start the timeout."""
        self._deadline = self.listener.reactor.callLater(self.request_timeout, self._expired)

    def _expired(self) -> None:
        self._deadline = None
        self.request_timed_out()

    def request_timed_out(self) -> None:
        """The request did not come in time."""
        raise NotImplementedError

    def request_received(self) -> None:
        """The request has come: end the timeout."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.request_received()
        super().connectionLost(reason)


@implementer(IHalfCloseableProtocol, IPushProducer)
class _OpeningProtocol(Protocol):
    """The caller's protocol while its stream is being opened.

    It passes the caller's bytes to the stream, and keeps a bounded number while there is no stream.
    """

    def __init__(self, caller: CallerProtocol, early: bytes) -> None:
        self.transport: Any = caller.transport
        self._caller = caller
        self._early = early
        self._received_any = bool(early)
        limit = caller.listener.limits[0]
        self._throttled = None if limit is None else ThrottledProducer(limit, self.transport)
        self._stream: MuxStream | None = None
        self._finished = False
        self.refused = False
        """Whether the caller gets an error, because the stream could not be opened."""

    def begin(self, stream: MuxStream) -> None:
        """From now on the caller's bytes go to the stream."""
        self._stream = stream
        early, self._early = self._early, b""
        if early:
            self.dataReceived(early)
        stream.registerProducer(self, True)
        self.resumeProducing()

    def splice(self, stream: MuxStream) -> None:
        """The stream is connected to its target."""
        if self._stream is None:
            self.begin(stream)
        stream.unregisterProducer()
        pair = Splice(self._caller.listener.limits, self._throttled)
        stream.connect(pair.right)
        self.transport.protocol = pair.left
        pair.left.makeConnection(self.transport)
        self._caller.listener.spliced(stream, pair)
        if self._finished:
            pair.left.readConnectionLost()

    def dataReceived(self, data: bytes) -> None:
        self._received_any = True
        if self._stream is None:
            self._early += data
            if len(self._early) > MAX_EARLY_DATA:
                self.transport.pauseProducing()
            return
        self._stream.write(data)
        if self._throttled is not None:
            self._throttled.consumed(len(data))

    def readConnectionLost(self) -> None:
        """The caller has sent FIN, which passes on when the stream is spliced."""
        self._finished = True
        if self._caller.caller_waits and not self._received_any and not self.refused:
            self.transport.abortConnection()

    def writeConnectionLost(self) -> None:
        """Only a refusal closes the sending half."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._caller.connectionLost(reason)

    def pauseProducing(self) -> None:
        (self._throttled or self.transport).pauseProducing()

    def resumeProducing(self) -> None:
        (self._throttled or self.transport).resumeProducing()

    def stopProducing(self) -> None:
        """The stream has ended: opening it fails, and the caller gets the reason."""


class Listener(Service):
    """Listens, accepts callers from allowed networks, and makes a ``CallerProtocol`` for each."""

    kind = ""

    def __init__(
        self,
        reactor: IReactor,
        tunnel: Tunnel,
        config: BaseListenerConfig,
        tls: ContextSource | None = None,
        mode: int = 0o660,
        idle_timeout: float = 0.0,
    ) -> None:
        """``mode`` is a Unix socket's; ``idle_timeout`` in seconds, 0 for none."""
        self.reactor = reactor
        self.tunnel = tunnel
        self.dial_timeout = config.dial_timeout
        self.limits: tuple[BandwidthLimit | None, BandwidthLimit | None] = (None, None)
        """The bandwidth limits of bytes from the callers, and of bytes to the callers."""
        if config.bandwidth:
            self.limits = (
                BandwidthLimit(reactor, config.bandwidth),
                BandwidthLimit(reactor, config.bandwidth),
            )
        self._idle = IdleWatch(reactor, idle_timeout, self._cut_idle) if idle_timeout else None
        self._networks = Networks(config.allow)
        address = parse_address(config.listen)
        self._endpoint = ServerEndpoint(reactor, address, tls, self._handshake_failed, mode)
        self._port: IListeningPort | None = None

    @property
    def address(self) -> Any:
        """Where it listens."""
        assert self._port is not None
        return self._port.getHost()

    def make_protocol(self) -> Protocol:
        """A new caller's protocol."""
        raise NotImplementedError

    def find_node(self, host: str, suffixes: Sequence[str]) -> str | None:
        """The connected node with the name ``host``, with or without one of the suffixes."""
        return next((node for node in strip_suffix(host, suffixes) if self.tunnel.knows(node)), None)

    def allows(self, peer: IAddress) -> bool:
        """Whether the caller's address is in an allowed network. A Unix socket's peer is always allowed."""
        host = getattr(peer, "host", None)
        return host is None or self._networks.allow(host)

    def refused(self, peer: IAddress, reason: str) -> None:
        """Count and log a refused caller."""
        metrics.CALLERS_REFUSED.labels(self.kind, reason.partition(":")[0]).inc()
        _log.warn(
            "listener {kind} refused {peer}: {reason}", kind=self.kind, peer=address_text(peer), reason=reason
        )

    def spliced(self, stream: MuxStream, pair: Splice) -> None:
        """``pair`` joins a caller and the stream."""
        idle = self._idle
        if idle is not None:
            idle.add(stream)
            pair.done.addCallback(lambda _: idle.forget(stream))

    def _cut_idle(self) -> None:
        metrics.CALLERS_REFUSED.labels(self.kind, "idle").inc()
        _log.info("listener {kind} closed an idle connection: no data for its idle_timeout", kind=self.kind)

    def _handshake_failed(self, peer: IAddress, reason: str) -> None:
        self.refused(peer, f"tls: {reason}")

    def startService(self) -> None:
        """Listen. Raises ConnectError when the address is not available."""
        super().startService()
        if self._idle is not None:
            self._idle.start()
        listener = self

        class Callers(Factory):
            noisy = False

            def buildProtocol(self, addr: IAddress | None) -> Any:
                assert addr is not None
                if listener.allows(addr):
                    return listener.make_protocol()
                listener.refused(addr, "network: not in allow")
                return None

        self._listening(self._endpoint.listen_now(cast(Any, Callers())))

    def _listening(self, port: IListeningPort) -> None:
        self._port = port
        _log.info("listener {kind} on {address}", kind=self.kind, address=address_text(port.getHost()))

    def draining(self) -> None:
        """The process waits for open streams to finish, and then stops: keep none open without a caller."""

    def stopService(self) -> None:
        """Accept no more callers; connected callers stay."""
        super().stopService()
        if self._idle is not None:
            self._idle.stop()
        if self._port is not None:
            self._port.stopListening()
