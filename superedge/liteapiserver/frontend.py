"""Every request comes here: who asks, and who answers, the cloud or the cache."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Any
from weakref import WeakSet

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from superedge.interfaces import IReactor
from superedge.kube.request import RequestInfo
from superedge.liteapiserver import metrics
from superedge.liteapiserver.access.asked import AskedOffline
from superedge.liteapiserver.access.authrequests import MAX_BODY, Questions
from superedge.liteapiserver.access.caller import Caller
from superedge.liteapiserver.access.credentials import ANONYMOUS, UNATTRIBUTED, Credentials
from superedge.liteapiserver.cache.answers import (
    Answer,
    WatchAnswer,
    beyond,
    failure,
    out_of_reach,
    refused,
    what,
)
from superedge.liteapiserver.cache.cache import Cache
from superedge.liteapiserver.forward.exchange import Exchange
from superedge.liteapiserver.forward.filters import Filters, not_acceptable
from superedge.liteapiserver.forward.held import HeldWatches
from superedge.liteapiserver.forward.incoming import Incoming
from superedge.liteapiserver.forward.labels import RequestLabels
from superedge.liteapiserver.upstream.health import Health
from superedge.liteapiserver.upstream.history import History
from superedge.liteapiserver.upstream.identity import IdentityManager
from superedge.liteapiserver.upstream.vouching import Vouching
from superedge.metrics import CounterSeries
from superedge.web.bounded import BoundedBody
from superedge.web.heads import RequestHead
from superedge.web.plain import plain_request
from superedge.web.serverrequest import Request

TRIAL = 1.0
"""Seconds that a write waits offline for a probe that may find the cloud back."""

_log = Logger()


class Forbidden(Exception):
    """A client that nothing is forwarded for; the text says why."""


class Frontend:
    """Decides for each request, and keeps account of those on their way."""

    def __init__(
        self,
        reactor: IReactor,
        identities: IdentityManager,
        health: Health,
        cache: Cache,
        credentials: Credentials,
        vouching: Vouching,
        questions: Questions,
        filters: Filters,
        history: History,
        host: bytes,
        forward_unknown: bool,
        share_all: bool,
        resume_within: float,
        slow: float,
    ) -> None:
        """``host`` is the Host header for the cloud, ``share_all`` whether all requests and not watches alone
        may share connections, ``slow`` the seconds without an answer after which the cloud is probed; the
        other arguments are the parts that are joined here.
        """
        self._reactor = reactor
        self._identities = identities
        self.health = health
        self.cache = cache
        self.credentials = credentials
        self.vouching = vouching
        self.questions = questions
        self.filters = filters
        self.history = history
        self.host = host
        self._forward_unknown = forward_unknown
        self._share_all = share_all
        self._resume_within = resume_within
        self._slow = slow
        # Clients ask the same again and again.
        self._read_again = lru_cache(maxsize=256)(self._read_plain)
        self._held = HeldWatches(reactor)
        self._exchanges: set[Exchange] = set()
        self._proven_at = 0.0
        """When the last probe began that got through."""
        self._counts: dict[tuple[str, str, int, str], CounterSeries] = {}
        self._labels = RequestLabels()
        self._warned: WeakSet[Any] = WeakSet()
        self._from_cloud = metrics.LATENCY.labels("upstream")
        self._from_cache = metrics.LATENCY.labels("cache")
        health.on_offline = self._went_offline
        health.on_online = self._came_online
        health.on_answer = self._cloud_answers
        metrics.IN_FLIGHT.set_function(lambda: len(self._exchanges) + len(self._held))
        metrics.WATCHES.labels("cache").set_function(lambda: len(self._held))
        metrics.WATCHES.labels("upstream").set_function(
            lambda: sum(exchange.is_watch for exchange in self._exchanges)
        )

    def handle(self, request: Request) -> None:
        """Answer a request, in its own time."""
        raw = request.head.raw
        incoming = self._read_again(raw) if raw else self._read(request.head)
        info = incoming.info
        if not incoming.acceptable:
            self._respond(request, info, not_acceptable(info), "refused")
            return
        try:
            caller = self._caller(request.transport, incoming)
        except Forbidden as problem:
            self._respond(request, info, failure(403, str(problem), outcome="refused"), "refused")
            return
        if self.health.online:
            if self.history.is_doubtful(info):
                resuming = Deferred.fromCoroutine(self._resume(request, incoming, caller))
                resuming.addErrback(self._resume_failed, request)
            else:
                self._forward(request, incoming, caller)
        elif incoming.is_question or info.is_read:
            self._answer_without(request, incoming, caller)
        else:
            trying = Deferred.fromCoroutine(self._try(request, incoming, caller))
            trying.addErrback(self._resume_failed, request)

    async def _try(self, request: Request, incoming: Incoming, caller: Caller) -> None:
        """Forward a write if the cloud is back, which only a probe can tell."""
        is_back = self.health.state == "recovering"
        if not is_back:
            try:
                is_back = await self.health.trial().addTimeout(TRIAL, self._reactor)
            except TimeoutError:
                is_back = self.health.online
        if request.finished:
            return
        if is_back:
            self._forward(request, incoming, caller)
        else:
            self.answer_offline(request, incoming.info, caller)

    def _forward(self, request: Request, incoming: Incoming, caller: Caller) -> None:
        exchange = Exchange(self, request, incoming, caller, self._reactor.seconds())
        self._exchanges.add(exchange)
        exchange.begin()

    async def _resume(self, request: Request, incoming: Incoming, caller: Caller) -> None:
        """Forward a request once the cloud is known to have come to the version that it names."""
        info = incoming.info
        end = await self.history.falls_short(caller, info)
        if request.finished:
            return
        if not self.health.online:
            self._answer_without(request, incoming, caller)
        elif not end:
            self._forward(request, incoming, caller)
        else:
            self._respond(request, info, beyond(info, end), "refused")

    def _resume_failed(self, problem: Failure, request: Request) -> None:
        if problem.check(CancelledError) is None:
            _log.failure("request could not be resumed", problem)
        if not request.finished:
            request.abort()

    def _read(self, head: RequestHead) -> Incoming:
        return Incoming(head, self.host, self.filters, self._share_all)

    def _read_plain(self, raw: bytes) -> Incoming:
        head = plain_request(raw)
        assert head is not None
        return self._read(head)

    def _caller(self, transport: Any, incoming: Incoming) -> Caller:
        token, acting_as = incoming.token, incoming.acting_as
        name = transport.peer_common_name
        if name is not None:
            found = self._identities.find(name, self._reactor.seconds())
            if found is not None:
                missing = found.identity.organizations - transport.peer_organizations
                if missing:
                    raise Forbidden(
                        f"the client certificate of {name!r} is not of the groups that its upstream identity "
                        f"has: {', '.join(sorted(missing))}"
                    )
                known = found.caller
                return Caller(known.pool, acting_as + known.identity) if acting_as else known
            if not self._forward_unknown:
                raise Forbidden(
                    f"no upstream identity has the common name {name!r} of the client certificate"
                )
        pool = self._identities.anonymous
        if token is None:
            return Caller(pool, UNATTRIBUTED, is_known=False)
        if token:
            return Caller(pool, acting_as + self.credentials.identify(token).name, token)
        return Caller(pool, acting_as + ANONYMOUS)

    # -- told by exchanges

    def check_token(self, caller: Caller, info: RequestInfo, status: int) -> None:
        """An API server answered a request that has a token.

        A 401 counts at once, unless something behind the API server may have given it, such as a pod.
        """
        token = caller.token
        if not token or status >= 500:
            return
        if status != 401:
            self.vouching.seen(token)
            return
        believed = not self.credentials.objection(token)
        if not (info.opaque or info.subresource or info.verb == "proxy"):
            self.credentials.refused(token)
        if believed:
            self.vouching.doubted(token)

    def answering(self, exchange: Exchange, info: RequestInfo, status: int) -> None:
        """The cloud's answer begins."""
        self._from_cloud.observe(self._reactor.seconds() - exchange.started_at)
        self._count(info, status, "upstream")

    def finished(self, exchange: Exchange) -> None:
        """An exchange is over."""
        self._exchanges.discard(exchange)

    def hold(self, request: Request, info: RequestInfo, started_at: float) -> None:
        """A watch lost the cloud, or its connection alone: it stays open until that is known."""
        elapsed = self._reactor.seconds() - started_at
        self._held.adopt(request, info, elapsed, doubtful=self.health.online)

    def undecided(self, request: Request, info: RequestInfo) -> None:
        """A write was sent and the cloud was lost before it said what came of it."""
        answer = failure(
            504,
            f"the cloud was lost before it answered: {info.verb} of {what(info)} may have been carried out",
            outcome="refused",
        )
        self._respond(request, info, answer, "cache")

    def _answer_without(self, request: Request, incoming: Incoming, caller: Caller) -> None:
        if incoming.is_question:
            self.ask_offline(request, incoming.info, caller, BoundedBody(MAX_BODY))
        else:
            self.answer_offline(request, incoming.info, caller)

    def ask_offline(
        self, request: Request, info: RequestInfo, caller: Caller, question: BoundedBody, whole: bool = False
    ) -> None:
        """Answer a question from the cache. Unless ``question`` is its whole body, the rest is read first."""
        if not self._is_believed(request, info, caller):
            return

        def answer(body: bytes | None) -> None:
            found = refused(info) if body is None else self.questions.answer(caller.identity, info, body)
            self._respond(request, info, found, "cache")

        if whole:
            answer(question.value)
        else:
            AskedOffline(self._reactor, request, question, answer)

    def answer_offline(self, request: Request, info: RequestInfo, caller: Caller) -> None:
        """Answer from the cache."""
        if not self._is_believed(request, info, caller):
            return
        answer = self.cache.answer(caller.identity, info, _none_match(request, info))
        if self.filters.covers(info):
            answer = self.filters.answer(info, answer)
        if isinstance(answer, Answer) and answer.status == 503 and self.health.reason:
            answer = answer.because(self.health.reason)
        self._respond(request, info, answer, "cache")

    def _is_believed(self, request: Request, info: RequestInfo, caller: Caller) -> bool:
        """Whether a client is who it says it is; one that is not is told so."""
        objection = ""
        if not caller.is_known:
            objection = "without it no credentials count but a client certificate or one bearer token"
        elif caller.token:
            objection = self.credentials.objection(caller.token)
        if objection:
            message = f"the cloud is unreachable; {objection}"
            self._respond(request, info, failure(401, message, outcome="refused"), "cache")
        return not objection

    def _respond(
        self, request: Request, info: RequestInfo, answer: Answer | WatchAnswer, source: str
    ) -> None:
        if source == "cache":
            self._warn(request, info, answer)
            metrics.CACHE_ANSWERS.labels(answer.outcome).inc()
            self._from_cache.observe(0.0)
        if isinstance(answer, WatchAnswer) and request.head.method == b"HEAD":
            self._count(info, 200, source)
            request.respond(200, answer.headers)
        elif isinstance(answer, WatchAnswer):
            self._count(info, 200, source)
            # While online a single failure brought it here, and the cloud may be there after all.
            self._held.open(request, answer, doubtful=self.health.online)
        else:
            self._count(info, answer.status, source)
            request.respond(answer.status, answer.headers, answer.body)

    def _warn(self, request: Request, info: RequestInfo, answer: Answer | WatchAnswer) -> None:
        """Tell a person, once on a connection, that a Table is of before the cloud was lost."""
        if answer.outcome == "hit" and "as=Table" in info.accept and request.transport not in self._warned:
            self._warned.add(request.transport)
            away = 0.0 if self.health.online else self._reactor.seconds() - self.health.since
            answer.headers.append((b"Warning", out_of_reach(time.time() - away)))

    def _count(self, info: RequestInfo, status: int, source: str) -> None:
        key = (info.verb, info.resource, status, source)
        count = self._counts.get(key)
        if count is None:
            verb, resource = self._labels.of(info, status)
            count = metrics.REQUESTS.labels(verb, resource, str(status), source)
            if (verb, resource) == key[:2]:  # not under what a client made up
                self._counts[key] = count
        count.inc()

    # -- told by health

    def look_for_slow(self) -> None:
        """Probe when a request has waited long; call it often."""
        now = self._reactor.seconds()
        if not self.health.online:
            if self.health.state == "offline":  # and a write was on trial
                for exchange in list(self._exchanges):
                    exchange.went_offline()
            return
        for exchange in list(self._exchanges):
            if exchange.waiting:
                exchange.give_up_if_silent(now, self._proven_at)
        before = now - self._slow
        heard = [exchange.heard_at for exchange in self._exchanges if exchange.is_awaited]
        heard += self.history.waits()
        slow = [moment for moment in heard if moment <= before]
        if slow:
            self.health.slow(max(slow) + self._slow)

    def _cloud_answers(self) -> None:
        """A probe got through over a new connection: which of the older ones that are silent still work?"""
        self._held.resume_doubtful()
        began = self._proven_at = self.health.probe_began
        silent = any(each.is_awaited and each.heard_at < began for each in self._exchanges)
        if silent or any(since < began for since in self.history.waits()):
            for pool in self._identities.pools():
                pool.probe()

    def _went_offline(self) -> None:
        self.history.doubt()
        for pool in self._identities.pools():
            pool.close_idle()
        for exchange in list(self._exchanges):
            exchange.went_offline()

    def _came_online(self) -> None:
        self._held.resume(self._resume_within)

    # -- told by the service

    def end_watches(self) -> None:
        """End what is held open, in the orderly way."""
        self._held.end_all()

    def abort(self) -> None:
        """Drop what is on its way to the cloud."""
        self.history.stop()
        for pool in self._identities.pools():
            pool.abort()

    @property
    def busy(self) -> bool:
        """Whether something other than a watch is on its way to the cloud."""
        return any(not exchange.is_watch for exchange in self._exchanges)

    @property
    def active(self) -> int:
        """Requests on their way to the cloud."""
        return len(self._exchanges)


def _none_match(request: Request, info: RequestInfo) -> str:
    """The header If-None-Match of a request that an ETag may answer."""
    if info.is_resource:
        return ""
    values = [value for name, value in request.head.headers if name.lower() == b"if-none-match"]
    return b",".join(values).decode("latin-1")
