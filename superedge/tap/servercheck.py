"""Connects to the servers that a configuration names, and checks that they are the right ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, NamedTuple, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from superedge.config.addresses import TCPAddress, parse_address, parse_proxy
from superedge.config.liteapiserver import LiteAPIServerConfig
from superedge.config.root import Config
from superedge.config.tunnel import TunnelEdgeConfig
from superedge.errors import SuperEdgeError
from superedge.interfaces import IReactor
from superedge.net.endpoints import ClientEndpoint
from superedge.net.errors import ConnectError
from superedge.net.factory import CallableFactory
from superedge.net.httpproxy import HTTPProxy, ProxiedEndpoint
from superedge.net.servers import Servers
from superedge.tls.contexts import ClientContextSource
from superedge.web.pool import Pool

TIMEOUT = 10.0
"""Seconds for each server."""


class Outcome(NamedTuple):
    """The result for one server; ``text`` is one line that names it."""

    works: bool
    text: str


async def outcomes(reactor: IReactor, config: Config) -> AsyncIterator[Outcome]:
    """The outcome of each server in the configuration's order. Raises IdentityError for an unusable file."""
    if config.lite_apiserver is not None:
        async for outcome in _api_servers(reactor, config.lite_apiserver):
            yield outcome
    if config.tunnel_edge is not None:
        async for outcome in _tunnel_servers(reactor, config.tunnel_edge):
            yield outcome


async def _api_servers(reactor: IReactor, config: LiteAPIServerConfig) -> AsyncIterator[Outcome]:
    from superedge.liteapiserver.upstream.health import ProbeResult  # noqa: PLC0415
    from superedge.liteapiserver.upstream.identity import IdentityManager  # noqa: PLC0415
    from superedge.liteapiserver.upstream.probe import probe  # noqa: PLC0415

    upstream = config.upstream
    for server in upstream.servers:
        address = cast(TCPAddress, parse_address(server))

        def make(tls: ClientContextSource, address: TCPAddress = address) -> Pool:
            return Pool(
                reactor,
                Servers([address], False),
                tls,
                upstream.server_name or None,
                upstream.connect_timeout,
            )

        identities = IdentityManager(config.identities, list(upstream.ca), make, 0.0)
        named = identities.get(upstream.probe_identity)
        host = str(TCPAddress(upstream.server_name or address.host, address.port))
        pool = named.pool if named is not None else identities.anonymous
        result, _, reason = await probe(reactor, pool, host, server, TIMEOUT)
        for each in identities.pools():
            each.abort()
        name = f"lite_apiserver.upstream.servers: {server}"
        works = result is ProbeResult.READY
        yield Outcome(works, f"{name}: {'the API server is ready' if works else reason}")


async def _tunnel_servers(reactor: IReactor, config: TunnelEdgeConfig) -> AsyncIterator[Outcome]:
    from superedge.tunnel.names import ALPN  # noqa: PLC0415

    tls = ClientContextSource(config.ca, config.certificate, config.key, [ALPN])
    for server in config.servers:
        address = cast(TCPAddress, parse_address(server))
        name = config.server_name or None
        endpoint = ClientEndpoint(reactor, address, tls, name, TIMEOUT)
        if config.proxy:
            where, credentials = parse_proxy(config.proxy)
            proxy = HTTPProxy(where, credentials, config.proxy_credentials)
            endpoint = ProxiedEndpoint(reactor, address, proxy, tls, name, TIMEOUT)
        text = f"tunnel_edge.servers: {server}"
        try:
            protocol: Any = await endpoint.connect(cast(Any, CallableFactory(Protocol)))
        except ConnectError as problem:
            yield Outcome(False, f"{text}: {problem}")
            continue
        chosen = protocol.transport.alpn
        protocol.transport.abortConnection()
        if chosen == ALPN:
            yield Outcome(True, f"{text}: the tunnel's cloud end answered")
        else:
            yield Outcome(
                False,
                f"{text}: is a TLS server but not a tunnel's cloud end: it did not choose {ALPN} by ALPN",
            )


def check_servers(reactor: IReactor, config: Config) -> bool:
    """Run the reactor, and print a line for each server. Returns whether all of them work."""
    works: list[bool] = []

    async def run() -> None:
        async for outcome in outcomes(reactor, config):
            works.append(outcome.works)
            print(f"{'ok' if outcome.works else 'FAILED'}  {outcome.text}")  # noqa: T201

    def ended(result: object) -> None:
        if isinstance(result, Failure):
            works.append(False)
            if not result.check(SuperEdgeError):
                result.printTraceback()
            else:
                print(f"FAILED  {result.getErrorMessage()}")  # noqa: T201
        try:
            reactor.stop()
        except ReactorNotRunning:
            reactor.callWhenRunning(reactor.stop)

    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(run()).addBoth(ended))
    reactor.run()
    return all(works)
