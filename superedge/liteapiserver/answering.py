"""Answers requests without the cloud: from the cache, or with a refusal."""

from __future__ import annotations

import time
from typing import Any
from weakref import WeakSet

from superedge.interfaces import IReactor
from superedge.kube.request import RequestInfo
from superedge.liteapiserver import metrics
from superedge.liteapiserver.access.authrequests import MAX_BODY, AuthRequests
from superedge.liteapiserver.access.bodyreader import BodyReader
from superedge.liteapiserver.access.caller import Caller
from superedge.liteapiserver.access.credentials import Credentials
from superedge.liteapiserver.cache.answers import (
    Answer,
    WatchAnswer,
    cloud_only,
    describe,
    failure,
    stale_warning,
)
from superedge.liteapiserver.cache.cache import Cache
from superedge.liteapiserver.forward.filtering import Filtering
from superedge.liteapiserver.forward.held import HeldWatches
from superedge.liteapiserver.forward.incoming import IncomingRequest
from superedge.liteapiserver.forward.labels import RequestCounter
from superedge.liteapiserver.forward.unsent import UnsentAnswers, too_much_unsent
from superedge.liteapiserver.upstream.health import Health
from superedge.web.bounded import BoundedBody
from superedge.web.serverrequest import Request


class Answering:
    """``held`` are the watches that it answers and keeps open; ``counter`` counts what it answers."""

    def __init__(
        self,
        reactor: IReactor,
        health: Health,
        cache: Cache,
        credentials: Credentials,
        auth_requests: AuthRequests,
        filtering: Filtering,
    ) -> None:
        self._reactor = reactor
        self._health = health
        self._cache = cache
        self._credentials = credentials
        self._auth_requests = auth_requests
        self._filtering = filtering
        self.held = HeldWatches(reactor)
        self.counter = RequestCounter()
        self._warned: WeakSet[Any] = WeakSet()
        self._unsent = UnsentAnswers()
        self._seconds = metrics.LATENCY.labels("cache")

    def without_cloud(self, request: Request, incoming: IncomingRequest, caller: Caller) -> None:
        """Answer any request from the cache."""
        if incoming.is_auth_request:
            self.auth_request(request, incoming.info, caller, BoundedBody(MAX_BODY))
        else:
            self.offline(request, incoming.info, caller)

    def auth_request(
        self, request: Request, info: RequestInfo, caller: Caller, body: BoundedBody, whole: bool = False
    ) -> None:
        """Answer an auth request from the cache; unless ``body`` is ``whole``, read the rest of it first."""
        if not self._is_accepted(request, info, caller):
            return

        def answer(content: bytes | None) -> None:
            if content is None:
                found = cloud_only(info)
            else:
                found = self._auth_requests.answer(caller.identity, info, content)
            self.respond(request, info, self._with_reason(found), "cache")

        if whole:
            answer(body.value)
        else:
            BodyReader(self._reactor, request, body, answer)

    def offline(self, request: Request, info: RequestInfo, caller: Caller) -> None:
        """Answer a request other than an auth request from the cache."""
        if not self._is_accepted(request, info, caller) or self.must_read_first(request, info, caller):
            return
        answer = self._cache.answer(caller.identity, info, _none_match(request, info))
        answer = self._filtering.answer(info, caller, answer)
        self.respond(request, info, self._with_reason(answer), "cache")
        self.wrote_whole(request, caller)

    def unknown_outcome(self, request: Request, info: RequestInfo) -> None:
        """Answer a write that was sent to the cloud and got no response."""
        answer = failure(
            504,
            "the cloud was lost before it answered: "
            f"{info.verb} of {describe(info)} may have been carried out",
            outcome="refused",
        )
        self.respond(request, info, answer, "cache")

    def hold(self, request: Request, info: RequestInfo, started_at: float) -> None:
        """Keep a watch open whose connection was lost, until it is known whether the cloud is away.

        It came at ``started_at``, reactor seconds.
        """
        elapsed = self._reactor.seconds() - started_at
        self.held.adopt(request, info, elapsed, unconfirmed=self._health.online)

    def wrote_whole(self, request: Request, caller: Caller) -> None:
        """A response that was whole in memory was written to the client."""
        self._unsent.sent(request.transport, caller.identity)

    def must_read_first(self, request: Request, info: RequestInfo, caller: Caller) -> bool:
        """Refuse a request if its identity's clients do not read what was written whole."""
        if self._unsent.admits(caller.identity):
            return False
        self.respond(request, info, too_much_unsent(), "refused")
        return True

    def respond(self, request: Request, info: RequestInfo, answer: Answer | WatchAnswer, source: str) -> None:
        """Send an answer; ``source`` is for metrics."""
        if source == "cache":
            self._warn(request, info, answer)
            metrics.CACHE_ANSWERS.labels(answer.outcome).inc()
            self._seconds.observe(0.0)
        if isinstance(answer, WatchAnswer) and request.head.method == b"HEAD":
            self.counter.count(info, 200, source)
            request.respond(200, answer.headers)
        elif isinstance(answer, WatchAnswer):
            self.counter.count(info, 200, source)
            # While online, a single failure led here, and the cloud may not be away at all.
            self.held.open(request, answer, unconfirmed=self._health.online)
        else:
            self.counter.count(info, answer.status, source)
            request.respond(answer.status, answer.headers, answer.body)

    def _with_reason(self, answer: Answer | WatchAnswer) -> Answer | WatchAnswer:
        """A 503 says why the cloud is unreachable, if that is known."""
        if isinstance(answer, Answer) and answer.status == 503 and self._health.reason:
            return answer.with_reason(self._health.reason)
        return answer

    def _is_accepted(self, request: Request, info: RequestInfo, caller: Caller) -> bool:
        """Whether the caller is accepted while the cloud is away; one that is not gets a 401."""
        rejection = ""
        if not caller.is_known:
            rejection = "until it is back, only a client certificate or a single bearer token is accepted"
        elif caller.token:
            rejection = self._credentials.rejection(caller.token)
        if rejection:
            message = f"the cloud is unreachable; {rejection}"
            self.respond(request, info, failure(401, message, outcome="refused"), "cache")
        return not rejection

    def _warn(self, request: Request, info: RequestInfo, answer: Answer | WatchAnswer) -> None:
        """Warn a person, once on each connection, that a Table is from before the cloud was lost."""
        if answer.outcome == "hit" and "as=Table" in info.accept and request.transport not in self._warned:
            self._warned.add(request.transport)
            away = 0.0 if self._health.online else self._reactor.seconds() - self._health.since
            answer.headers.append((b"Warning", stale_warning(time.time() - away)))


def _none_match(request: Request, info: RequestInfo) -> str:
    """The If-None-Match header of a request that may be answered by an ETag."""
    if info.is_resource:
        return ""
    values = [value for name, value in request.head.headers if name.lower() == b"if-none-match"]
    return b",".join(values).decode("latin-1")
