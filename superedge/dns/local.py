"""The node-local server: a chain of resolvers behind UDP and TCP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any, cast

from dnslib import QTYPE, RCODE
from twisted.application.service import MultiService
from twisted.logger import Logger

from superedge.config.addresses import TCPAddress, parse_address
from superedge.config.localdns import LocalDNSConfig
from superedge.dns import metrics
from superedge.dns.cachefile import CacheFile
from superedge.dns.cluster.zone import ClusterZone
from superedge.dns.follow import ClusterFollower
from superedge.dns.messages import format_error
from superedge.dns.resolvers.cache import CacheResolver
from superedge.dns.resolvers.cluster import ClusterResolver
from superedge.dns.resolvers.forward import ForwardResolver
from superedge.dns.resolvers.hosts import HostsResolver
from superedge.dns.resolvers.log import LogResolver
from superedge.dns.resolvers.refuse import Refuse
from superedge.dns.resolvers.rewrite import RewriteResolver
from superedge.dns.rotation import Addresses, find_addresses, turned
from superedge.dns.transports import Listening, Questions
from superedge.dns.wire import (
    ANY_CLASS,
    BADVERS,
    IN,
    NOTIMP,
    OPCODE,
    REFUSED,
    SERVFAIL,
    parse_question,
    render,
    text_name,
    udp_limit,
)
from superedge.errors import SuperEdgeError
from superedge.interfaces import Answer, IReactor, IResolver, IResolverPlugin, Question
from superedge.kube.client import IKubeClient
from superedge.metrics import CounterSeries
from superedge.net.dummyinterface import DummyInterface
from superedge.net.networks import Networks
from superedge.plugin import make_with

LINKS = frozenset({"cluster", "cache", "forward", "hosts", "rewrite", "log"})
"""Names of the links that this package has."""
MAX_KNOWN = 16 * 1024 * 1024
"""Bytes of packed answers that are kept, with their questions; beyond, all are made anew."""
_OVERHEAD = 400
_TRANSFERS = frozenset({251, 252})
"""IXFR and AXFR."""
_log = Logger()

_Known = tuple[float, bytes, Addresses | None, CounterSeries, CounterSeries]


class LocalDNS(MultiService):
    """Answers the cluster's names from a copy of its objects, and all others as the chain says."""

    name = "local-dns"

    def __init__(
        self,
        reactor: IReactor,
        config: LocalDNSConfig,
        client: IKubeClient,
        plugins: Mapping[str, IResolverPlugin],
    ) -> None:
        """``plugins`` are those of the links that are not this package's own."""
        super().__init__()
        self._reactor = reactor
        self._config = config
        self.clients = Networks(config.allow)
        self.streams: dict[Questions, None] = {}
        listen = [cast(TCPAddress, parse_address(text, 53)) for text in config.listen]
        own = [ip_address(address.host) for address in listen]
        packed = [address.packed for address in own]
        self.zone = ClusterZone(config.cluster_domain, config.ttl, packed, config.pod_records)
        needed = [address for address in own if not address.is_loopback and not address.is_unspecified]
        self._interface = DummyInterface(config.interface, needed) if config.interface else None
        self._follower = ClusterFollower(reactor, client, self.zone, config.snapshot, self.forget)
        self._follower.setServiceParent(self)
        self.cache: CacheResolver | None = None
        self._hosts: list[HostsResolver] = []
        self._forward: ForwardResolver | None = None
        self._chain: IResolver = self._build(plugins, listen)
        if self.cache is not None and config.cache.stale:
            path = config.snapshot.with_name(f"{config.snapshot.name}.cache")
            CacheFile(reactor, self.cache, path).setServiceParent(self)
        # By the whole question but its id, so that each asker's own spelling comes back; UDP, then TCP.
        self._known: tuple[dict[bytes, _Known], dict[bytes, _Known]] = ({}, {})
        self._known_size = 0
        self._turns = 0
        self._duration = metrics.DURATION.labels(metrics.ZONE)
        self._listening = Listening(reactor, listen, self, config.reuse_port)

    def _build(self, plugins: Mapping[str, IResolverPlugin], own: Sequence[TCPAddress]) -> IResolver:
        config, reactor = self._config, self._reactor
        chain: IResolver = Refuse()
        for name in reversed(config.chain):
            if name == "cluster":
                outside = self._outside(chain)
                chain = ClusterResolver(self.zone, lambda: self._follower.loaded, chain, outside)
            elif name == "cache":
                chain = self.cache = CacheResolver(reactor, config.cache, chain)
            elif name == "forward":
                chain = self._forward = ForwardResolver(reactor, config.forward, own, chain)
            elif name in ("hosts", "rewrite"):
                chain = self._names(name, chain)
            elif name == "log":
                chain = LogResolver(reactor, chain)
            else:
                options = config.resolvers.get(name, {})
                chain = make_with(
                    plugins[name], IResolver, f"local_dns.chain: {name}", reactor, options, chain
                )
        return chain

    def _names(self, name: str, following: IResolver) -> IResolver:
        """The link `hosts` or `rewrite`, if there is anything for it to do."""
        config = self._config
        if name == "hosts" and config.hosts:
            self._hosts.append(HostsResolver(config.hosts, following))
            return self._hosts[-1]
        if name == "rewrite" and config.rewrite:
            return RewriteResolver(config.rewrite, following)
        return following

    def _outside(self, following: IResolver) -> IResolver:
        """What resolves the targets of ExternalNames: the links `hosts` and `rewrite` before the link
        `cluster`, and those after it."""
        chain = self._config.chain
        for name in reversed(chain[: chain.index("cluster")]):
            following = self._names(name, following)
        return following

    @property
    def addresses(self) -> list[Any]:
        """Where it listens, TCP then UDP for each address."""
        return self._listening.addresses

    def waits_for(self) -> str:
        """For the readiness page: without them the cluster's names are SERVFAIL."""
        if self._follower.loaded:
            return ""
        return "; ".join(["the cluster's services", *self._follower.problems()])

    def status(self) -> dict[str, object]:
        """For the status page."""
        found = self._follower.status()
        if self.cache is not None:
            found["cache"] = {
                "entries": len(self.cache),
                "hits": self.cache.hits,
                "misses": self.cache.misses,
                "stale": self.cache.stale,
            }
        if self._forward is not None:
            found["upstreams"] = [
                {
                    "zones": [text_name(name) for name in zone.names],
                    "server": str(server),
                    "healthy": healthy,
                }
                for zone in self._forward.zones
                for server, healthy in zone.forwarder.health()
            ]
        return found

    def privilegedStartService(self) -> None:
        """Make the interface that has the addresses. Raises InterfaceError."""
        if self._interface is not None:
            self._interface.make()
        super().privilegedStartService()

    def startService(self) -> None:
        """Restore the snapshot, listen, follow. Raises ConnectError when an address cannot be had."""
        self._follower.restore()
        self._listening.start()
        for bound in self.addresses[::2]:
            _log.info("DNS for this node on {address}", address=str(TCPAddress(bound.host, bound.port)))
        super().startService()

    def stopService(self) -> Any:
        """Listen and follow no more."""
        self._listening.stop()
        if self._interface is not None:
            self._interface.remove()
        if self._forward is not None:
            self._forward.stop()
        return super().stopService()

    def forget(self) -> None:
        """Answers may have changed."""
        for known in self._known:
            known.clear()
        self._known_size = 0

    def reload_hosts(self) -> None:
        """The files of the link `hosts` have changed."""
        for hosts in self._hosts:
            hosts.reload()
        self.forget()

    def reload_upstreams(self) -> None:
        """The files that have upstream servers have changed."""
        if self._forward is not None:
            self._forward.reload()

    def turned_away(self, reason: str) -> None:
        """Count a client that was not allowed, or was one too many."""
        metrics.QUERIES.labels(reason).inc()

    def known(self, data: bytes, stream: bool) -> bytes | None:
        """The answer to a packet, if the same was asked before and may be answered so again."""
        known = self._known[stream]
        found = known.get(data[2:])
        if found is None:
            return None
        until, rest, addresses, requests, responses = found
        if until <= self._reactor.seconds():
            del known[data[2:]]
            self._known_size -= len(data) + len(rest) + _OVERHEAD
            return None
        requests.value += 1
        responses.value += 1
        self._duration.counts[0] += 1
        if addresses is not None:
            rest = turned(rest, addresses, 1)
            known[data[2:]] = until, rest, addresses, requests, responses
        return data[:2] + rest

    async def respond(self, data: bytes, stream: bool) -> bytes | None:
        """The answer to a packet; None for what gets none."""
        try:
            question = parse_question(data)
        except ValueError:
            metrics.QUERIES.labels("malformed").inc()
            return format_error(data)
        if question is None:
            return None
        kind = QTYPE.forward.get(question.kind, "other")
        requests = metrics.REQUESTS.labels(metrics.ZONE, "tcp" if stream else "udp", kind)
        requests.inc()
        begun = self._reactor.seconds()
        answer = await self._answer(question)
        now = self._reactor.seconds()
        self._duration.observe(now - begun)
        code = RCODE.forward.get(answer.code, str(answer.code))
        responses = metrics.RESPONSES.labels(metrics.ZONE, code, answer.source)
        responses.inc()
        rest = render(question, answer, None if stream else udp_limit(question))
        addresses = find_addresses(question, answer, rest)
        if addresses is not None:
            self._turns += 1
            rest = turned(rest, addresses, self._turns)
        if answer.until > now:
            self._keep(data, stream, (answer.until, rest, addresses, requests, responses))
        return data[:2] + rest

    async def _answer(self, question: Question) -> Answer:
        if question.flags & OPCODE:
            return Answer(NOTIMP)
        if question.edns_version:
            return Answer(BADVERS)
        if question.qclass not in (IN, ANY_CLASS) or question.kind in _TRANSFERS:
            return Answer(REFUSED)
        try:
            return await self._chain.resolve(question)
        except SuperEdgeError as problem:
            _log.debug("{name} is SERVFAIL: {problem}", name=text_name(question.name), problem=problem)
        except Exception:
            _log.failure("{name} is SERVFAIL: a resolver failed", name=text_name(question.name))
        return Answer(SERVFAIL)

    def _keep(self, data: bytes, stream: bool, known: _Known) -> None:
        self._known_size += len(data) + len(known[1]) + _OVERHEAD
        if self._known_size > MAX_KNOWN:
            self.forget()
        else:
            self._known[stream][data[2:]] = known
