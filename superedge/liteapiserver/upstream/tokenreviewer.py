"""Asks the cloud which user a token belongs to, so that the token is accepted while the cloud is away.

The success of another request proves nothing: a path that is open to everybody succeeds with any token, since
the API server does not check it there. Source: Kubernetes authentication.k8s.io/v1 SelfSubjectReview
(Kubernetes 1.28).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from superedge.kube.errors import JSON_FAULTS
from superedge.kube.media import JSON
from superedge.liteapiserver.access.credentials import Credentials
from superedge.liteapiserver.upstream.fetch import FetchError, UnexpectedStatus, fetch_body
from superedge.liteapiserver.upstream.reviewqueue import UNCHECKED, ReviewQueue
from superedge.net.errors import ConnectError
from superedge.reactor.task import in_background
from superedge.web.pool import Pool

PATH = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
INTERVAL = 60.0
"""Seconds before the next review of a token whose last review was not conclusive."""
MAX_IN_FLIGHT = 4
"""Reviews under way at the same time."""
MAX_IN_FLIGHT_EACH = 2
"""Of those, most of one identity."""
MAX_WAITING = 1000
"""Tokens that wait for a review. A token beyond is dropped until its next use."""
_TIMEOUT = 10.0
_REVIEW = msgspec.json.encode({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})

_log = Logger()


class _UserInfo(msgspec.Struct):
    username: str = ""


class _Status(msgspec.Struct):
    userInfo: _UserInfo


class _Review(msgspec.Struct):
    kind: str
    status: _Status


_decoder = msgspec.json.Decoder(_Review)


class TokenReviewer:
    """Reviews tokens with SelfSubjectReview, and gives the results to `Credentials`."""

    def __init__(
        self, reactor: IReactorTime, credentials: Credentials, host: bytes, pool: Callable[[], Pool]
    ) -> None:
        """``host`` is the Host header for the cloud; ``pool`` gives the pool without a client certificate."""
        self._reactor = reactor
        self._credentials = credentials
        self._host = host
        self._pool = pool
        self._waiting = ReviewQueue(MAX_WAITING)
        self._in_flight: dict[str, tuple[str, Deferred[None]]] = {}
        """The owner and the review of each token that is reviewed, by its hash."""
        self._asked_at: dict[str, float] = {}
        """When the last review of a token began, by its hash, reactor seconds."""
        self._warned = False

    @property
    def idle(self) -> bool:
        """Whether no review waits or is under way."""
        return not self._waiting and not self._in_flight

    def review(self, token: str, checked: bool = True) -> None:
        """Review a token that the cloud took, unless its user is known.

        ``checked`` is false if the request may be open to everybody, so that anything passes for a token.
        """
        found = self._credentials.identify(token)
        if not self._credentials.is_accepted(found.digest):
            self._enqueue(token, found.digest, found.name if checked else UNCHECKED)

    def review_again(self, token: str) -> None:
        """Review a token that was accepted, unless that happened less than INTERVAL ago."""
        found = self._credentials.identify(token)
        self._enqueue(token, found.digest, found.name)

    def _enqueue(self, token: str, digest: str, owner: str) -> None:
        asked_at = self._asked_at.get(digest)
        if asked_at is not None and self._reactor.seconds() < asked_at + INTERVAL:
            return
        if digest not in self._in_flight:
            self._waiting.put(owner, digest, token)
            self._start()

    def stop(self) -> None:
        """Cancel every review."""
        self._waiting.clear()
        for _, reviewing in list(self._in_flight.values()):
            reviewing.cancel()

    def _start(self) -> None:
        while len(self._in_flight) < MAX_IN_FLIGHT:
            owners = [owner for owner, _ in self._in_flight.values()]
            busy = {owner for owner in owners if owners.count(owner) >= MAX_IN_FLIGHT_EACH}
            found = self._waiting.take(busy)
            if found is None:
                return
            owner, digest, token = found
            while len(self._asked_at) >= MAX_WAITING:
                del self._asked_at[next(iter(self._asked_at))]
            self._asked_at[digest] = self._reactor.seconds()
            reviewing = in_background(self._review(token, digest), _log, "a token could not be reviewed")
            self._in_flight[digest] = owner, reviewing
            reviewing.addCallback(self._done, digest)

    def _done(self, _result: None, digest: str) -> None:
        del self._in_flight[digest]
        self._start()

    async def _review(self, token: str, digest: str) -> None:
        reading = Deferred.fromCoroutine(
            fetch_body(
                self._pool(),
                self._host,
                PATH,
                JSON,
                authorization=b"Bearer " + token.encode(),
                idle=True,
                review=_REVIEW,
            )
        )
        try:
            body = await reading.addTimeout(_TIMEOUT, self._reactor)
            review = _decoder.decode(body)
        except UnexpectedStatus as problem:
            if problem.status == 401:
                self._credentials.reject(token)
            else:
                self._warn(str(problem))
        except (ConnectError, FetchError, TimeoutError) as problem:
            reason = "no answer in time" if isinstance(problem, TimeoutError) else str(problem)
            _log.debug("a token could not be reviewed: {problem}", problem=reason)
            self._asked_at.pop(digest, None)
        except JSON_FAULTS as problem:
            self._warn(f"{PATH}: {problem}")
        else:
            if review.kind == "SelfSubjectReview" and self._credentials.accept(
                token, review.status.userInfo.username
            ):
                self._asked_at.pop(digest, None)

    def _warn(self, problem: str) -> None:
        if not self._warned:
            self._warned = True
            _log.warn(
                "the API server does not review tokens: offline only tokens that its issuer's keys signed "
                "are accepted: {problem}",
                problem=problem,
            )
