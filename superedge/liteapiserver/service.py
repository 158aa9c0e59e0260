"""The service: listens, loads the cache, and connects the parts of lite-apiserver."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater
from twisted.logger import Logger

from superedge.config.addresses import TCPAddress, parse_address
from superedge.config.liteapiserver import LiteAPIServerConfig
from superedge.errors import ConfigWarning
from superedge.interfaces import Entry, ICacheStore, IReactor, IResponseFilter
from superedge.liteapiserver.access.authrequests import AuthRequests
from superedge.liteapiserver.access.credentials import Credentials
from superedge.liteapiserver.access.issuer import Issuer
from superedge.liteapiserver.access.reviews import Reviews
from superedge.liteapiserver.access.tokenkey import TokenKey
from superedge.liteapiserver.access.tokens import TokenCache
from superedge.liteapiserver.cache import records
from superedge.liteapiserver.cache.backlog import Backlog
from superedge.liteapiserver.cache.cache import Cache
from superedge.liteapiserver.cache.committer import Committer
from superedge.liteapiserver.cache.eviction import Limits
from superedge.liteapiserver.cache.policy import Policy
from superedge.liteapiserver.forward.filtering import Filtering
from superedge.liteapiserver.forward.filters import Filters
from superedge.liteapiserver.frontend import Collaborators, Frontend, FrontendSettings
from superedge.liteapiserver.heap import HeapTrimmer, return_large_blocks
from superedge.liteapiserver.stores.directory import StoreInUse
from superedge.liteapiserver.upstream.following import Follower, Following
from superedge.liteapiserver.upstream.health import Health, ProbeReport
from superedge.liteapiserver.upstream.history import History
from superedge.liteapiserver.upstream.identity import IdentityManager
from superedge.liteapiserver.upstream.issuerkeys import IssuerKeys
from superedge.liteapiserver.upstream.prefetch import Prefetch
from superedge.liteapiserver.upstream.probe import probe
from superedge.liteapiserver.upstream.tokenreviewer import TokenReviewer
from superedge.net.endpoints import ServerEndpoint
from superedge.net.servers import Servers
from superedge.reactor.draining import drained
from superedge.reactor.periodic import PeriodicCall
from superedge.reactor.task import in_background
from superedge.tls.contexts import ClientContextSource, ServerContextSource
from superedge.tls.reload import FileWatcher
from superedge.web.h2pool import OFFERED, H2Pool
from superedge.web.idle import idle_client_check
from superedge.web.pool import IDLE_TIMEOUT, Pool
from superedge.web.server import ServerFactory
from superedge.web.serverrequest import Request

# Seconds between two calls of the periodic checks.
SWEEP_INTERVAL = 0.5
SLOW_CHECK_INTERVAL = 0.25
TRIM_INTERVAL = 1.0
STORE_CHECK_INTERVAL = 2.0
IN_USE_RETRY = 0.2
"""Seconds between two attempts to open a store that another process uses."""
IN_USE_GRACE = 5.0
"""Seconds that this process waits for the other, in addition to the time that requests have to finish."""
IDENTITY_SCAN_INTERVAL = 5.0
CLIENT_IDLE = 180.0
"""Seconds that a client's connection may be idle: longer than API clients keep theirs."""

_log = Logger()


class LiteAPIServer(Service):
    """lite-apiserver as a Twisted service; ``store`` and ``filters`` are the configured ones."""

    name = "lite-apiserver"

    def __init__(
        self,
        reactor: IReactor,
        config: LiteAPIServerConfig,
        watcher: FileWatcher,
        store: ICacheStore,
        filters: Sequence[IResponseFilter] = (),
    ) -> None:
        """Raises IdentityError, ConfigError."""
        self._reactor = reactor
        self._config = config
        upstream = config.upstream
        self._tls = ServerContextSource(
            config.certificate, config.key, config.client_ca, "optional", ["http/1.1"]
        )
        watcher.watch_context(self._tls)
        addresses = [cast(TCPAddress, parse_address(server)) for server in upstream.servers]
        servers = Servers(addresses, upstream.order == "round-robin")

        def make_pool(tls: ClientContextSource) -> Pool:
            pool = Pool(reactor, servers, tls, upstream.server_name or None, upstream.connect_timeout)
            if upstream.http2 != "none":
                pool.shared = H2Pool(reactor, pool, tls.offering(*OFFERED))
            return pool

        self.identities = IdentityManager(
            config.identities, list(upstream.ca), make_pool, config.drain_timeout
        )
        watcher.watch(upstream.ca, self.identities.reload_authorities)
        self._store = store
        self._committer = Committer(reactor, store, config.cache.commit_interval)
        policy = Policy(config.cache.rules)
        limits = Limits(config.cache.max_bytes, config.cache.max_objects)
        self._backlog = Backlog(reactor)
        self.cache = Cache(policy, self._commit, config.cache.max_body, limits, backlog=self._backlog)
        host = upstream.server_name or addresses[0].host
        self._host = str(TCPAddress(host, addresses[0].port))
        self._issuer = Issuer(config.token_audiences, self._commit, time.time, self._keys_changed)
        self._credentials = Credentials(
            self._commit, time.time, self._issuer if config.verify_tokens else None
        )
        self.token_reviewer = TokenReviewer(
            reactor, self._credentials, self._host.encode(), lambda: self.identities.anonymous
        )
        self._key = TokenKey(None if config.cache.store == "memory" else config.cache.path / "token.key")
        self._tokens = TokenCache(self._key.key, self._commit, time.time)
        self._committer.on_lost = self._save
        reviews = Reviews(config.review_reuse, reactor.seconds, time.time)
        self.health = Health(reactor, self._probe, upstream.probe_interval)
        self.following = Following(reactor, lambda: self.health.online)
        applied = Filters(filters, config.cache.max_body)
        filtering = Filtering(reactor, applied, self.following, self.cache, self._host.encode())
        history = History(reactor, self._host.encode(), self.cache.newest, self.cache.cluster_restored)
        self.frontend = Frontend(
            reactor,
            Collaborators(
                identities=self.identities,
                health=self.health,
                cache=self.cache,
                credentials=self._credentials,
                token_reviewer=self.token_reviewer,
                auth_requests=AuthRequests(self._tokens, reviews, self.token_reviewer.review),
                filtering=filtering,
                history=history,
            ),
            FrontendSettings(
                host=self._host.encode(),
                forward_unknown=config.unknown_certificate == "forward",
                share_all=upstream.http2 == "all",
                resume_within=config.resume_within,
                slow=upstream.probe_timeout / 4,
            ),
        )
        self._issuer_keys = IssuerKeys(reactor, self._issuer, self._host.encode(), self.identities.pools)
        self._prefetch = Prefetch(
            reactor,
            config.prefetch,
            self.cache,
            self.identities,
            history,
            self._host.encode(),
            self.health,
        )
        for each in applied.following:
            for what in each.follows():
                follower = Follower(
                    self._prefetch,
                    config.filter_identity,
                    what,
                    each,
                    filtering.changed,
                    filtering.refreshed,
                )
                self._prefetch.add(follower)
                self.following.add(follower)
        self._factory = ServerFactory(self._handle)
        self._waiting: list[Request] | None = []
        self._not_loaded = "lite-apiserver's cache, which is being read"
        self._ports: list[IListeningPort] = []
        self._checks = [
            PeriodicCall(reactor, SLOW_CHECK_INTERVAL, self.frontend.check_slow),
            PeriodicCall(reactor, STORE_CHECK_INTERVAL, self._check_store),
            PeriodicCall(reactor, SWEEP_INTERVAL, self._sweep),
            PeriodicCall(reactor, TRIM_INTERVAL, HeapTrimmer().check),
            PeriodicCall(reactor, IDENTITY_SCAN_INTERVAL, self.identities.check),
            idle_client_check(reactor, self._factory, CLIENT_IDLE),
        ]

    def _keys_changed(self) -> None:
        self._credentials.keys_changed()
        _log.info("received the keys of the token issuer {issuer}", issuer=self._issuer.name)

    def _save(self) -> None:
        """Commit everything again, for a store that lost it."""
        self._key.save()
        self._commit(records.STARTED, (), b"")
        for part in (self._issuer, self._credentials, self._tokens, self.cache):
            part.save()

    def _check_store(self) -> None:
        self._key.keep()
        self._committer.check()

    def _commit(self, kind: str, key: tuple[str, ...], value: bytes | None) -> None:
        self._committer.add(kind, key, value)

    async def _probe(self) -> ProbeReport:
        upstream = self._config.upstream
        found = self.identities.get(upstream.probe_identity) if upstream.probe_identity else None
        pool = found.pool if found is not None else self.identities.anonymous
        return await probe(
            self._reactor,
            pool,
            self._host,
            ", ".join(upstream.servers),
            upstream.probe_timeout,
            retry=not self.health.online,
        )

    @property
    def addresses(self) -> list[Any]:
        """The addresses that it listens on."""
        return [port.getHost() for port in self._ports]

    def startService(self) -> None:
        """Listen at once; requests wait until the cache is loaded. Raises ConnectError."""
        super().startService()
        return_large_blocks()
        self._key.keep()
        for address in self._config.listen:
            endpoint = ServerEndpoint(self._reactor, parse_address(address), self._tls)
            self._ports.append(endpoint.listen_now(cast(Any, self._factory)))
            _log.info("lite-apiserver on {address}", address=address)
        in_background(self._begin(), _log, "lite-apiserver cannot start")

    async def _begin(self) -> None:
        try:
            await self._load()
        except Exception as problem:
            self._not_loaded = f"lite-apiserver's cache, which cannot be loaded: {problem}"
            raise

    async def _read_store(self) -> list[Entry]:
        """What the store holds. Waits for another process that uses it, as that may be about to stop.

        Raises what the store raises.
        """
        end = self._reactor.seconds() + self._config.drain_timeout + IN_USE_GRACE
        while True:
            try:
                return list(await self._store.load())
            except StoreInUse as problem:
                if self._reactor.seconds() >= end:
                    raise
                self._not_loaded = f"lite-apiserver's cache: {problem}"
                await deferLater(self._reactor, IN_USE_RETRY)

    async def _load(self) -> None:
        started = self._reactor.seconds()
        try:
            entries = await self._read_store()
        except Exception as problem:
            _log.critical("the cache cannot be read and starts empty: {problem}", problem=problem)
            self._committer.load_failed(problem)
            entries = []
        self._committer.loaded(entries)
        # The first change after each start shows at once whether the store takes changes.
        self._commit(records.STARTED, (), b"")
        self._issuer.load(entries)
        self._credentials.load(entries)
        self._tokens.load(entries, readable=not self._key.is_new)
        count = len(entries)
        self.cache.load(entries)
        self.following.restore()
        self.frontend.history.reset()
        _log.info(
            "cache of {count} records loaded in {seconds:.3f} s",
            count=count,
            seconds=self._reactor.seconds() - started,
        )
        if not self.running:
            return
        self.health.start()
        for check in self._checks:
            check.start()
        self._prefetch.poll()
        waiting, self._waiting = self._waiting or [], None
        for request in waiting:
            if not request.finished:
                self.frontend.handle(request)

    def _handle(self, request: Request) -> None:
        if self._waiting is not None:
            self._waiting.append(request)
        else:
            self.frontend.handle(request)

    def _sweep(self) -> None:
        if self._config.verify_tokens and self.health.online:
            self._issuer_keys.poll()
        self._prefetch.poll()
        self.following.use()
        self.cache.evict()
        self.cache.measure()
        before = self._reactor.seconds() - IDLE_TIMEOUT
        for pool in self.identities.pools():
            pool.close_idle(before)

    async def stopService(self) -> None:
        """Accept no more requests, let those under way finish within drain_timeout, then write the cache."""
        super().stopService()
        for port in self._ports:
            port.stopListening()
        for check in self._checks:
            check.stop()
        self.health.stop()
        self._issuer_keys.stop()
        self.token_reviewer.stop()
        self._prefetch.stop()
        self.frontend.end_watches()
        self._factory.close_idle()
        await drained(self._reactor, lambda: self.frontend.busy, self._config.drain_timeout)
        self.frontend.abort()
        self._factory.abort()
        self._backlog.close()
        await self._committer.close()

    def warnings(self, now: datetime) -> Iterator[ConfigWarning]:
        """Identities that are unlikely to work, and configured names without an identity."""
        for warning in self.identities.warnings(now):
            yield warning.under("lite_apiserver.identities")
        asked = {"lite_apiserver.upstream.probe_identity": self._config.upstream.probe_identity}
        if self.frontend.filters.following:
            asked["lite_apiserver.filter_identity"] = self._config.filter_identity
        for number, each in enumerate(self._config.prefetch):
            asked[f"lite_apiserver.prefetch[{number}].identity"] = each.identity
        for key, name in asked.items():
            if name and self.identities.get(name) is None:
                have = ", ".join(self.identities.names) or "none"
                text = f"{key}: {name!r} is not the common name of a pair in identities; there are: {have}"
                yield ConfigWarning(text, temporary=True)

    def waits_for(self) -> str:
        """For the readiness page: why requests wait, empty when they do not."""
        return "" if self._waiting is None else self._not_loaded

    def remark(self) -> str:
        """For the readiness page: why it is offline. It is ready offline, too."""
        if self.health.online:
            return ""
        return f"lite-apiserver is {self.health.state}: {self.health.reason or 'the cloud is not ready'}"

    def status(self) -> dict[str, Any]:
        """For the status page."""
        return {
            "state": self.health.state,
            "reason": self.health.reason,
            "seconds_in_state": round(self._reactor.seconds() - self.health.since, 1),
            "identities": self.identities.names,
            "identity_faults": self.identities.faults,
            "requests": self.frontend.active,
            "token_issuer": self._issuer.name,
            "store": {
                "name": self._config.cache.store,
                "path": os.fspath(self._config.cache.path),
                "pending_changes": self._committer.pending,
                "degraded": self._committer.degraded,
            },
            "prefetch": self._prefetch.status(),
            "views": self.cache.status(),
        }
