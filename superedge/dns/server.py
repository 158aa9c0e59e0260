"""The tunnel's server."""

from __future__ import annotations

from typing import Any, cast

from dnslib import RCODE
from twisted.application.service import Service
from twisted.logger import Logger

from superedge.config.addresses import TCPAddress, parse_address
from superedge.config.dns import TunnelDNSConfig
from superedge.dns import metrics
from superedge.dns.forward import Forwarder
from superedge.dns.messages import failure, format_error, pack, parse_query, udp_size
from superedge.dns.ports import ForwardError
from superedge.dns.transports import Listening, Questions
from superedge.dns.zone import Directory, NodeZone
from superedge.interfaces import IReactor
from superedge.net.networks import Networks

MAX_KNOWN = 8 * 1024 * 1024
"""Bytes of packed answers about nodes that are kept, with their questions; beyond, all are made anew."""
_OVERHEAD = 200
MAX_PENDING = 2000
"""Questions under way to upstream servers; more are SERVFAIL at once."""

_log = Logger()


class DNSServer(Service):
    """Node names from ``directory``, everything else from the upstream servers."""

    name = "tunnel-dns"

    def __init__(
        self, reactor: IReactor, config: TunnelDNSConfig, directory: Directory, cluster_domain: str = ""
    ) -> None:
        self._reactor = reactor
        listen = [cast(TCPAddress, parse_address(text, 53)) for text in config.listen]
        self.clients = Networks(config.allow)
        others = [cluster_domain, *config.upstream_zones]
        self._zone = NodeZone(directory, config.suffixes, config.ttl, config.unconnected, others)
        # By the whole question but its id, so that each asker's own spelling comes back.
        self._known: dict[tuple[bool, bytes], bytes] = {}
        self._known_size = 0
        directory.on_change(self._forget)
        self._node_queries = metrics.QUERIES.labels("node")
        upstreams = [cast(TCPAddress, parse_address(text, 53)) for text in config.upstreams]
        self._forwarder = Forwarder(reactor, upstreams, config.timeout) if upstreams else None
        self._pending = 0
        self.streams: dict[Questions, None] = {}
        self._listening = Listening(reactor, listen, self)

    @property
    def addresses(self) -> list[Any]:
        """Where it listens, TCP then UDP for each address."""
        return self._listening.addresses

    def known(self, data: bytes, stream: bool) -> bytes | None:
        """The answer to a question about a node, if the same was asked before and nothing has changed."""
        rest = self._known.get((stream, data[2:]))
        if rest is None:
            return None
        self._node_queries.inc()
        return data[:2] + rest

    async def respond(self, data: bytes, stream: bool) -> bytes | None:
        """The answer to a packet; None for what gets none."""
        try:
            query = parse_query(data)
        except ValueError:
            metrics.QUERIES.labels("malformed").inc()
            return format_error(data)
        if query is None:
            return None
        limit = None if stream else udp_size(query)
        if query.header.opcode != 0:
            metrics.QUERIES.labels("refused").inc()
            return pack(failure(query, RCODE.NOTIMP), limit)
        answer = self._zone.answer(query)
        if answer is not None:
            self._node_queries.inc()
            packed = pack(answer, limit)
            self._keep(data, stream, packed)
            return packed
        if self._forwarder is None:
            metrics.QUERIES.labels("refused").inc()
            return pack(failure(query, RCODE.REFUSED), limit)
        return await self._forward(self._forwarder, data, query, limit)

    def _keep(self, data: bytes, stream: bool, packed: bytes) -> None:
        self._known_size += len(data) + len(packed) + _OVERHEAD
        if self._known_size > MAX_KNOWN:
            self._forget()
        else:
            self._known[stream, data[2:]] = packed[2:]

    def _forget(self) -> None:
        self._known.clear()
        self._known_size = 0

    async def _forward(self, forwarder: Forwarder, data: bytes, query: Any, limit: int | None) -> bytes:
        if self._pending >= MAX_PENDING:
            metrics.QUERIES.labels("overload").inc()
            return pack(failure(query, RCODE.SERVFAIL), limit)
        self._pending += 1
        try:
            answer = await forwarder.ask(data[2:])
        except ForwardError as problem:
            _log.debug("{name} is SERVFAIL: {problem}", name=str(query.q.qname), problem=problem)
            metrics.QUERIES.labels("failed").inc()
            return pack(failure(query, RCODE.SERVFAIL), limit)
        finally:
            self._pending -= 1
        metrics.QUERIES.labels("forwarded").inc()
        if limit is not None and len(answer) > limit:
            short = failure(query, answer[3] & 0x0F)
            short.header.tc = 1
            return pack(short, limit)
        return data[:2] + answer[2:]

    def turned_away(self, reason: str) -> None:
        """Count a client that was not allowed, or was one too many."""
        metrics.QUERIES.labels(reason).inc()

    def startService(self) -> None:
        """Listen. Raises ConnectError when an address cannot be had."""
        super().startService()
        self._listening.start()
        for bound in self.addresses[::2]:
            _log.info("DNS for node names on {address}", address=str(TCPAddress(bound.host, bound.port)))

    def stopService(self) -> None:
        """Listen no more."""
        super().stopService()
        if self._forwarder is not None:
            self._forwarder.stop()
        self._listening.stop()
