"""Decides for each request who answers it: the cloud, or the cache while the cloud is away."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from superedge.interfaces import IReactor
from superedge.kube.objects import Item
from superedge.kube.request import RequestInfo
from superedge.liteapiserver import metrics
from superedge.liteapiserver.access.authrequests import MAX_BODY, AuthRequests
from superedge.liteapiserver.access.bodyreader import BodyReader
from superedge.liteapiserver.access.caller import Caller
from superedge.liteapiserver.access.credentials import Credentials
from superedge.liteapiserver.cache.answers import (
    Answer,
    WatchAnswer,
    beyond_history,
    cloud_only,
    describe,
    failure,
    stale_warning,
)
from superedge.liteapiserver.cache.cache import Cache
from superedge.liteapiserver.cache.scopes import Name
from superedge.liteapiserver.forward.exchange import Exchange
from superedge.liteapiserver.forward.filtering import Filtering
from superedge.liteapiserver.forward.filters import not_acceptable
from superedge.liteapiserver.forward.held import HeldWatches
from superedge.liteapiserver.forward.incoming import IncomingRequest
from superedge.liteapiserver.forward.labels import RequestCounter
from superedge.liteapiserver.forward.unsent import UnsentAnswers, too_much_unsent
from superedge.liteapiserver.upstream.callers import Callers, Forbidden
from superedge.liteapiserver.upstream.health import Health
from superedge.liteapiserver.upstream.history import History
from superedge.liteapiserver.upstream.identity import IdentityManager
from superedge.liteapiserver.upstream.tokenreviewer import TokenReviewer
from superedge.web.bounded import BoundedBody
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
        self._held = HeldWatches(reactor)
        self._exchanges: set[Exchange] = set()
        self._proven_at = 0.0
        """When the last successful probe began, reactor seconds."""
        self._counter = RequestCounter()
        self._warned: WeakSet[Any] = WeakSet()
        self._unsent = UnsentAnswers()
        self._from_cloud = metrics.LATENCY.labels("upstream")
        self._from_cache = metrics.LATENCY.labels("cache")
        health.on_offline = self._went_offline
        health.on_online = self._came_online
        health.on_probe_success = self._probe_succeeded
        metrics.IN_FLIGHT.set_function(lambda: len(self._exchanges) + len(self._held))
        metrics.WATCHES.labels("cache").set_function(lambda: len(self._held))
        metrics.WATCHES.labels("upstream").set_function(
            lambda: sum(exchange.is_watch for exchange in self._exchanges)
        )

    def handle(self, request: Request) -> None:
        """Answer a request, now or later."""
        incoming = self._incoming.get(request.head.raw) or self._read(request.head)
        info = incoming.info
        if not incoming.acceptable:
            self._respond(request, info, not_acceptable(info), "refused")
            return
        try:
            caller = self._callers.find(request.transport, incoming.token, incoming.impersonation)
        except Forbidden as problem:
            self._respond(request, info, failure(403, str(problem), outcome="refused"), "refused")
            return
        if self.health.online:
            if incoming.filtered and self._must_read_first(request, info, caller):
                return
            if self._filtering.must_prepare(incoming) or self.history.must_check(info):
                preparing = Deferred.fromCoroutine(self._prepare(request, incoming, caller))
                preparing.addErrback(self._deferred_failed, request)
            else:
                self._forward(request, incoming, caller)
        elif incoming.is_auth_request or info.is_read:
            self._answer_without(request, incoming, caller)
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
            self.answer_offline(request, incoming.info, caller)

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
            self._answer_without(request, incoming, caller)
        elif end:
            self._respond(request, info, beyond_history(info, end), "refused")
        elif missing is not None:
            self._respond(request, info, missing, "refused")
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

        A 401 counts at once, unless it may come from something behind the API server, such as a pod.
        """
        token = caller.token
        if not token or status >= 500:
            return
        if status != 401:
            self.token_reviewer.review(token, info.is_resource)
            return
        was_accepted = not self.credentials.rejection(token)
        if not (info.opaque or info.subresource or info.verb == "proxy"):
            self.credentials.reject(token)
        if was_accepted:
            self.token_reviewer.review_again(token)

    def believes(self, caller: Caller) -> bool:
        """Whether the caller has no token, or one that is accepted or signed by the issuer."""
        return not caller.token or not self.credentials.rejection(caller.token)

    def answering(self, info: RequestInfo, status: int, started_at: float) -> None:
        """Count a response of the cloud that begins."""
        self._from_cloud.observe(self._reactor.seconds() - started_at)
        self._counter.count(info, status, "upstream")

    def hold(self, request: Request, info: RequestInfo, started_at: float) -> None:
        """Keep a watch open that lost its connection, until it is known whether the cloud is away."""
        elapsed = self._reactor.seconds() - started_at
        self._held.adopt(request, info, elapsed, unconfirmed=self.health.online)

    def answer_unknown_outcome(self, request: Request, info: RequestInfo) -> None:
        """Answer a write that was sent to the cloud and got no response."""
        answer = failure(
            504,
            "the cloud was lost before it answered: "
            f"{info.verb} of {describe(info)} may have been carried out",
            outcome="refused",
        )
        self._respond(request, info, answer, "cache")

    def _answer_without(self, request: Request, incoming: IncomingRequest, caller: Caller) -> None:
        if incoming.is_auth_request:
            self.answer_auth_request(request, incoming.info, caller, BoundedBody(MAX_BODY))
        else:
            self.answer_offline(request, incoming.info, caller)

    def answer_auth_request(
        self, request: Request, info: RequestInfo, caller: Caller, body: BoundedBody, whole: bool = False
    ) -> None:
        """Answer an auth request from the cache; unless ``body`` is ``whole``, read the rest of it first."""
        if not self._is_accepted(request, info, caller):
            return

        def answer(content: bytes | None) -> None:
            if content is None:
                found = cloud_only(info)
            else:
                found = self.auth_requests.answer(caller.identity, info, content)
            self._respond(request, info, self._with_reason(found), "cache")

        if whole:
            answer(body.value)
        else:
            BodyReader(self._reactor, request, body, answer)

    def answer_offline(self, request: Request, info: RequestInfo, caller: Caller) -> None:
        """Answer from the cache."""
        if not self._is_accepted(request, info, caller) or self._must_read_first(request, info, caller):
            return
        answer = self.cache.answer(caller.identity, info, _none_match(request, info))
        answer = self._filtering.answer(info, caller, answer)
        self._respond(request, info, self._with_reason(answer), "cache")
        self.wrote_whole(request, caller)

    def _with_reason(self, answer: Answer | WatchAnswer) -> Answer | WatchAnswer:
        """A 503 says why the cloud is unreachable, if that is known."""
        if isinstance(answer, Answer) and answer.status == 503 and self.health.reason:
            return answer.with_reason(self.health.reason)
        return answer

    def wrote_whole(self, request: Request, caller: Caller) -> None:
        """See `ExchangeOwner.wrote_whole`."""
        self._unsent.sent(request.transport, caller.identity)

    def _must_read_first(self, request: Request, info: RequestInfo, caller: Caller) -> bool:
        """Refuse a request if its identity's clients do not read what was written whole."""
        if self._unsent.admits(caller.identity):
            return False
        self._respond(request, info, too_much_unsent(), "refused")
        return True

    def _is_accepted(self, request: Request, info: RequestInfo, caller: Caller) -> bool:
        """Whether the caller is accepted while the cloud is away; one that is not gets a 401."""
        rejection = ""
        if not caller.is_known:
            rejection = "until it is back, only a client certificate or a single bearer token is accepted"
        elif caller.token:
            rejection = self.credentials.rejection(caller.token)
        if rejection:
            message = f"the cloud is unreachable; {rejection}"
            self._respond(request, info, failure(401, message, outcome="refused"), "cache")
        return not rejection

    def _respond(
        self, request: Request, info: RequestInfo, answer: Answer | WatchAnswer, source: str
    ) -> None:
        if source == "cache":
            self._warn(request, info, answer)
            metrics.CACHE_ANSWERS.labels(answer.outcome).inc()
            self._from_cache.observe(0.0)
        if isinstance(answer, WatchAnswer) and request.head.method == b"HEAD":
            self._counter.count(info, 200, source)
            request.respond(200, answer.headers)
        elif isinstance(answer, WatchAnswer):
            self._counter.count(info, 200, source)
            # While online, a single failure led here, and the cloud may not be away at all.
            self._held.open(request, answer, unconfirmed=self.health.online)
        else:
            self._counter.count(info, answer.status, source)
            request.respond(answer.status, answer.headers, answer.body)

    def _warn(self, request: Request, info: RequestInfo, answer: Answer | WatchAnswer) -> None:
        """Warn a person, once on each connection, that a Table is from before the cloud was lost."""
        if answer.outcome == "hit" and "as=Table" in info.accept and request.transport not in self._warned:
            self._warned.add(request.transport)
            away = 0.0 if self.health.online else self._reactor.seconds() - self.health.since
            answer.headers.append((b"Warning", stale_warning(time.time() - away)))

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
        self._held.end_unconfirmed()
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
        self._held.end_all_within(self._settings.resume_within)

    # -- called by the service

    def end_watches(self) -> None:
        """End the held watches in the orderly way."""
        self._held.end_all()

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


def _none_match(request: Request, info: RequestInfo) -> str:
    """The If-None-Match header of a request that may be answered by an ETag."""
    if info.is_resource:
        return ""
    values = [value for name, value in request.head.headers if name.lower() == b"if-none-match"]
    return b",".join(values).decode("latin-1")
