"""Decides for each request who answers it: the cloud, or the cache while the cloud is away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from superedge.interfaces import IReactor
from superedge.kube.objects import Item
from superedge.kube.request import RequestInfo
from superedge.liteapiserver import metrics
from superedge.liteapiserver.access.authrequests import AuthRequests
from superedge.liteapiserver.access.caller import Caller
from superedge.liteapiserver.access.credentials import Credentials
from superedge.liteapiserver.answering import Answering
from superedge.liteapiserver.cache.answers import (
    Answer,
    beyond_history,
    failure,
)
from superedge.liteapiserver.cache.cache import Cache
from superedge.liteapiserver.cache.scopes import Name
from superedge.liteapiserver.forward.exchange import Exchange
from superedge.liteapiserver.forward.filtering import Filtering
from superedge.liteapiserver.forward.filters import not_acceptable
from superedge.liteapiserver.forward.incoming import IncomingRequest
from superedge.liteapiserver.upstream.callers import Callers, Forbidden
from superedge.liteapiserver.upstream.health import Health
from superedge.liteapiserver.upstream.history import History
from superedge.liteapiserver.upstream.identity import IdentityManager
from superedge.liteapiserver.upstream.tokenreviewer import TokenReviewer
from superedge.web.heads import RequestHead
from superedge.web.serverrequest import Request

WRITE_PROBE_TIMEOUT = 1.0
"""Seconds that a write waits, while offline, for a probe that may find the cloud back."""

MAX_INCOMING = 256
"""Parsed heads that are kept."""

_log = Logger()


@dataclass(frozen=True, slots=True)
class FrontendSettings:
    """What the configuration says about forwarding."""

    host: bytes
    """The Host header for the cloud."""
    forward_unknown: bool
    """Whether a client whose certificate's name has no upstream identity is forwarded without one."""
    share_all: bool
    """Whether all requests may share upstream connections, and not watches alone."""
    resume_within: float
    """Seconds within which watches that were held offline end once the cloud is back."""
    slow: float
    """Seconds without a response after which the cloud is probed."""


@dataclass(frozen=True, slots=True)
class Collaborators:
    """The parts of the service that the frontend joins."""

    identities: IdentityManager
    health: Health
    cache: Cache
    credentials: Credentials
    token_reviewer: TokenReviewer
    auth_requests: AuthRequests
    filtering: Filtering
    history: History


class Frontend:
    """Answers requests, and keeps account of those that are on their way to the cloud."""

    def __init__(self, reactor: IReactor, parts: Collaborators, settings: FrontendSettings) -> None:
        self._reactor = reactor
        self._settings = settings
        self._identities = parts.identities
        self.health = health = parts.health
        self.cache = parts.cache
        self.credentials = parts.credentials
        self.token_reviewer = parts.token_reviewer
        self.auth_requests = parts.auth_requests
        self._filtering = parts.filtering
        self.filters = parts.filtering.filters
        parts.filtering.tell = self._tell
        self.history = parts.history
        self._callers = Callers(
            parts.identities, parts.credentials, settings.forward_unknown, reactor.seconds
        )
        self._incoming: dict[bytes, IncomingRequest] = {}
        """Parsed heads: most requests have the same head as an earlier one."""
        self.answers = Answering(
            reactor, health, parts.cache, parts.credentials, parts.auth_requests, parts.filtering
        )
        self._counter = self.answers.counter
        self._exchanges: set[Exchange] = set()
        self._proven_at = 0.0
        """When the last successful probe began, reactor seconds."""
        self._from_cloud = metrics.LATENCY.labels("upstream")
        health.on_offline = self._went_offline
        health.on_online = self._came_online
        health.on_probe_success = self._probe_succeeded
        metrics.IN_FLIGHT.set_function(lambda: len(self._exchanges) + len(self.answers.held))
        metrics.WATCHES.labels("cache").set_function(lambda: len(self.answers.held))
        metrics.WATCHES.labels("upstream").set_function(
            lambda: sum(exchange.is_watch for exchange in self._exchanges)
        )

    def handle(self, request: Request) -> None:
        """Answer a request, now or later."""
        incoming = self._incoming.get(request.head.raw) or self._read(request.head)
        info = incoming.info
        if not incoming.acceptable:
            self.answers.respond(request, info, not_acceptable(info), "refused")
            return
        try:
            caller = self._callers.find(request.transport, incoming.token, incoming.impersonation)
        except Forbidden as problem:
            self.answers.respond(request, info, failure(403, str(problem), outcome="refused"), "refused")
            return
        if self.health.online:
            if incoming.filtered and self.answers.must_read_first(request, info, caller):
                return
            if self._filtering.must_prepare(incoming) or self.history.must_check(info):
                preparing = Deferred.fromCoroutine(self._prepare(request, incoming, caller))
                preparing.addErrback(self._deferred_failed, request)
            else:
                self._forward(request, incoming, caller)
        elif incoming.is_auth_request or info.is_read:
            self.answers.without_cloud(request, incoming, caller)
        else:
            probing = Deferred.fromCoroutine(self._probe_for_write(request, incoming, caller))
            probing.addErrback(self._deferred_failed, request)

    async def _probe_for_write(self, request: Request, incoming: IncomingRequest, caller: Caller) -> None:
        """Forward a write that came while offline if a probe finds the cloud back."""
        is_back = self.health.state == "recovering"
        if not is_back:
            try:
                is_back = await self.health.next_probe().addTimeout(WRITE_PROBE_TIMEOUT, self._reactor)
            except TimeoutError:
                is_back = self.health.online
        if request.finished:
            return
        if is_back:
            self._forward(request, incoming, caller)
        else:
            self.answers.offline(request, incoming.info, caller)

    def _forward(
        self,
        request: Request,
        incoming: IncomingRequest,
        caller: Caller,
        base: Mapping[Name, Item] | None = None,
    ) -> None:
        now = self._reactor.seconds()
        exchange = Exchange(self, request, incoming, caller, now, self._exchanges.discard, base)
        self._exchanges.add(exchange)
        exchange.begin()

    async def _prepare(self, request: Request, incoming: IncomingRequest, caller: Caller) -> None:
        """Forward a request when its filters are ready for it, if the cloud's history reaches the
        resourceVersion that it names.
        """
        info = incoming.info
        base: Mapping[Name, Item] | None = None
        missing: Answer | None = None
        end = await self.history.history_end(caller, info) if self.history.must_check(info) else 0
        if not end and self.health.online and self._filtering.must_prepare(incoming):
            base = await self._filtering.prepare(incoming, caller)
            missing = self._filtering.missing(info)
        if request.finished:
            return
        if not self.health.online:
            self.answers.without_cloud(request, incoming, caller)
        elif end:
            self.answers.respond(request, info, beyond_history(info, end), "refused")
        elif missing is not None:
            self.answers.respond(request, info, missing, "refused")
        else:
            self._forward(request, incoming, caller, base)

    def _tell(self, resource: tuple[str, str]) -> None:
        """Filter again what open watches of a resource, group and name, have shown."""
        for exchange in list(self._exchanges):
            exchange.filters_changed(resource)

    def _deferred_failed(self, problem: Failure, request: Request) -> None:
        if problem.check(CancelledError) is None:
            _log.failure("a request that waited could not be answered", problem)
        if not request.finished:
            request.abort()

    def _read(self, head: RequestHead) -> IncomingRequest:
        incoming = IncomingRequest(head, self._settings.host, self.filters, self._settings.share_all)
        if head.raw:
            if len(self._incoming) >= MAX_INCOMING:
                self._incoming.clear()  # cheaper than to find out which were used last
            self._incoming[head.raw] = incoming
        return incoming

    # -- ExchangeOwner

    def check_token(self, caller: Caller, info: RequestInfo, status: int) -> None:
        """Note what an API server's response says about the request's token.

        A 401 counts at once, unless it may come from something behind the API server, such as a pod, or from
        an API server that is not ready: it may not have found the service account.
        """
        token = caller.token
        if not token or status >= 500 or (status == 401 and not self.health.is_settled):
            return
        if status != 401:
            self.token_reviewer.review(token, info.is_resource)
            return
        was_accepted = not self.credentials.rejection(token)
        if not (info.opaque or info.subresource or info.verb == "proxy"):
            self.credentials.reject(token)
        if was_accepted:
            self.token_reviewer.review_again(token)

    def believes_refusal(self, caller: Caller) -> bool:
        """Whether an API server is ready, and the caller has no token, or one that is accepted or signed by
        the issuer.
        """
        return self.health.is_settled and not (caller.token and self.credentials.rejection(caller.token))

    def answering(self, info: RequestInfo, status: int, started_at: float) -> None:
        """Count a response of the cloud that begins."""
        self._from_cloud.observe(self._reactor.seconds() - started_at)
        self._counter.count(info, status, "upstream")

    # -- called by the health checks and timers

    def check_slow(self) -> None:
        """Probe the cloud when a request has waited too long; to be called often."""
        now = self._reactor.seconds()
        if not self.health.online:
            if self.health.state == "offline":  # a write may have been forwarded after a probe
                for exchange in list(self._exchanges):
                    exchange.went_offline()
            return
        for exchange in list(self._exchanges):
            if exchange.waiting:
                exchange.give_up_if_silent(now, self._proven_at)
        before = now - self._settings.slow
        heard = [exchange.heard_at for exchange in self._exchanges if exchange.is_awaited]
        heard += self.history.waiting_since()
        slow = [moment for moment in heard if moment <= before]
        if slow:
            self.health.request_slow(max(slow) + self._settings.slow)

    def _probe_succeeded(self) -> None:
        """A probe succeeded over a new connection: check whether older, silent connections still work."""
        self.answers.held.end_unconfirmed()
        began = self._proven_at = self.health.probe_began
        silent = any(each.is_awaited and each.heard_at < began for each in self._exchanges)
        if silent or any(since < began for since in self.history.waiting_since()):
            for pool in self._identities.pools():
                pool.probe()

    def _went_offline(self) -> None:
        self._filtering.following.wake()
        self.history.reset()
        for pool in self._identities.pools():
            pool.close_idle()
        for exchange in list(self._exchanges):
            exchange.went_offline()
            exchange.is_doubtful = True

    def _came_online(self) -> None:
        for exchange in list(self._exchanges):
            exchange.came_online()
        self.answers.held.end_all_within(self._settings.resume_within)

    # -- called by the service

    def end_watches(self) -> None:
        """End the held watches in the orderly way."""
        self.answers.held.end_all()

    def abort(self) -> None:
        """Abort what is on its way to the cloud."""
        self._filtering.stop()
        self.history.stop()
        for pool in self._identities.pools():
            pool.abort()

    @property
    def busy(self) -> bool:
        """Whether a request other than a watch is on its way to the cloud."""
        return any(not exchange.is_watch for exchange in self._exchanges)

    @property
    def active(self) -> int:
        """Requests on their way to the cloud."""
        return len(self._exchanges)
