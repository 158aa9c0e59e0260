"""What every kind of listener shares: who may call, and the splice to a stream."""

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
"""Bytes of a caller that are kept while there is no stream for them."""
_TRY_NEXT_TARGET = frozenset({"refused", "denied", "unresolvable"})
"""Why a node did not connect to a target, though it may to another."""


def caller_name(transport: Any) -> str:
    """Who a caller is to those who share with it: its certificate's name, or where it comes from."""
    name = getattr(transport, "peer_common_name", None)
    return str(name or getattr(transport.getPeer(), "host", "unix"))


class CallerProtocol(Protocol):
    """A caller's connection until it is spliced."""

    transport: Any
    caller_waits = False
    """Whether callers wait for an answer before they say more: who ends before, having said nothing, left."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self._opening: Task | None = None

    def route(
        self, node: str, target: str, early: bytes = b"", kind: str = "tcp", others: Sequence[str] = ()
    ) -> None:
        """Open a stream to ``target`` on ``node`` and splice; ``early`` is sent first.

        What the caller sends meanwhile goes ahead of the node's answer. When the node cannot reach a target
        it tries the next of ``others``.
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
        """The node has connected to this one of its targets."""

    def opened(self, stream: MuxStream) -> None:
        """The stream is there; say so to the caller if the protocol has words for it."""

    def failed(self, problem: DialError) -> None:
        """No stream: end the connection."""
        self.transport.abortConnection()

    def _failed_unexpectedly(self, failure: Failure) -> None:
        _log.failure("a caller of listener {kind} was dropped", failure, kind=self.listener.kind)
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The caller left: give up what is being opened for it."""
        if self._opening is not None:
            self._opening.cancel()


class RequestCaller(CallerProtocol):
    """A caller whose first bytes say where it wants to go; it has ``request_timeout`` seconds for them."""

    request_timeout = 10.0
    _deadline: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Its time begins."""
        self._deadline = self.listener.reactor.callLater(self.request_timeout, self._expired)

    def _expired(self) -> None:
        self._deadline = None
        self.request_timed_out()

    def request_timed_out(self) -> None:
        """It did not say so in time."""
        raise NotImplementedError

    def request_received(self) -> None:
        """It has said so."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The caller left."""
        self.request_received()
        super().connectionLost(reason)


@implementer(IHalfCloseableProtocol, IPushProducer)
class _OpeningProtocol(Protocol):
    """The caller's protocol while its stream is being opened: passes on what the caller sends.

    Some of that is kept while there is no stream yet.
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
        """The caller is being told that there is no stream."""

    def begin(self, stream: MuxStream) -> None:
        """Bytes may go to the stream from now on."""
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
        """The caller has said everything: its end passes when the stream is spliced."""
        self._finished = True
        if self._caller.caller_waits and not self._received_any and not self.refused:
            self.transport.abortConnection()

    def writeConnectionLost(self) -> None:
        """Our half is ended by a refusal alone."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._caller.connectionLost(reason)

    def pauseProducing(self) -> None:
        """The stream holds enough."""
        (self._throttled or self.transport).pauseProducing()

    def resumeProducing(self) -> None:
        """The stream takes more."""
        (self._throttled or self.transport).resumeProducing()

    def stopProducing(self) -> None:
        """The stream is gone; the opening of it fails, and the caller hears why."""


class Listener(Service):
    """Listens, lets allowed callers in, gives each a ``CallerProtocol``."""

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
        """What limits bytes from the callers, and to them."""
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
        """The connected node that a caller's ``host`` names, with or without one of the suffixes."""
        return next((node for node in strip_suffix(host, suffixes) if self.tunnel.knows(node)), None)

    def allows(self, peer: IAddress) -> bool:
        """Whether the caller's address is in an allowed network; a Unix socket's peer always is."""
        host = getattr(peer, "host", None)
        return host is None or self._networks.allow(host)

    def refused(self, peer: IAddress, reason: str) -> None:
        """Count and log a caller that was turned away."""
        metrics.CALLERS_REFUSED.labels(self.kind, reason.partition(":")[0]).inc()
        _log.warn(
            "listener {kind} refused {peer}: {reason}", kind=self.kind, peer=address_text(peer), reason=reason
        )

    def spliced(self, stream: MuxStream, pair: Splice) -> None:
        """A caller and a stream are joined by ``pair``."""
        idle = self._idle
        if idle is not None:
            idle.add(stream)
            pair.done.addCallback(lambda _: idle.forget(stream))

    def _cut_idle(self) -> None:
        metrics.CALLERS_REFUSED.labels(self.kind, "idle").inc()
        _log.info("listener {kind} cut a caller off: no data for its idle_timeout", kind=self.kind)

    def _handshake_failed(self, peer: IAddress, reason: str) -> None:
        self.refused(peer, f"tls: {reason}")

    def startService(self) -> None:
        """Listen. Raises ConnectError when the address cannot be had."""
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

    def stopService(self) -> None:
        """Take no more callers; those being served go on."""
        super().stopService()
        if self._idle is not None:
            self._idle.stop()
        if self._port is not None:
            self._port.stopListening()
