"""Asks the cloud whose a token is, so that the token is believed while the cloud is away.

That an answer was a success proves nothing: what is open to everybody succeeds with any token that the API
server did not look at. Source: Kubernetes authentication.k8s.io/v1 SelfSubjectReview (Kubernetes 1.28).
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
from superedge.liteapiserver.upstream.reading import ReadError, Refused, read_body
from superedge.net.errors import ConnectError
from superedge.reactor.task import in_background
from superedge.web.pool import Pool

PATH = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
INTERVAL = 60.0
"""Seconds before the cloud is asked again about a token of which it said nothing useful."""
MAX_ASKED = 4
"""Questions that are on their way at once."""
MAX_WAITING = 1000
"""Tokens that wait for their turn; beyond, the next use of a token brings it up again."""
_TIMEOUT = 10.0
_QUESTION = msgspec.json.encode({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})

_log = Logger()


class _UserInfo(msgspec.Struct):
    username: str = ""


class _Status(msgspec.Struct):
    userInfo: _UserInfo


class _Review(msgspec.Struct):
    kind: str
    status: _Status


_review = msgspec.json.Decoder(_Review)


class Vouching:
    """Call `seen` for every token with which the cloud answered something."""

    def __init__(
        self, reactor: IReactorTime, credentials: Credentials, host: bytes, pool: Callable[[], Pool]
    ) -> None:
        """``host`` is the Host header for the cloud; ``pool`` gives connections without an identity."""
        self._reactor = reactor
        self._credentials = credentials
        self._host = host
        self._pool = pool
        self._waiting: dict[str, str] = {}
        """Tokens by their hash, the first to be asked about first."""
        self._asking: dict[str, Deferred[None]] = {}
        self._asked: dict[str, float] = {}
        """When, by hash, the last question was, reactor seconds."""
        self._complained = False

    @property
    def idle(self) -> bool:
        """Whether every question is answered."""
        return not self._waiting and not self._asking

    def seen(self, token: str) -> None:
        """Ask whose it is, unless that is known."""
        digest = self._credentials.identify(token).digest
        if not self._credentials.is_judged(digest):
            self._doubt(token, digest)

    def doubted(self, token: str) -> None:
        """Ask, unless that was done a moment ago or too many wait."""
        self._doubt(token, self._credentials.identify(token).digest)

    def _doubt(self, token: str, digest: str) -> None:
        if digest in self._waiting or digest in self._asking or len(self._waiting) >= MAX_WAITING:
            return
        now = self._reactor.seconds()
        if now < self._asked.get(digest, now - INTERVAL) + INTERVAL:
            return
        self._waiting[digest] = token
        self._ask()

    def stop(self) -> None:
        """Give up what is under way."""
        self._waiting.clear()
        for asking in list(self._asking.values()):
            asking.cancel()

    def _ask(self) -> None:
        while self._waiting and len(self._asking) < MAX_ASKED:
            digest = next(iter(self._waiting))
            token = self._waiting.pop(digest)
            while len(self._asked) >= MAX_WAITING:
                del self._asked[next(iter(self._asked))]
            self._asked[digest] = self._reactor.seconds()
            asking = in_background(self._judge(token, digest), _log, "a token could not be reviewed")
            self._asking[digest] = asking
            asking.addCallback(self._done, digest)

    def _done(self, _result: None, digest: str) -> None:
        del self._asking[digest]
        self._ask()

    async def _judge(self, token: str, digest: str) -> None:
        reading = Deferred.fromCoroutine(
            read_body(
                self._pool(),
                self._host,
                PATH,
                JSON,
                authorization=b"Bearer " + token.encode(),
                idle=True,
                question=_QUESTION,
            )
        )
        try:
            body = await reading.addTimeout(_TIMEOUT, self._reactor)
            review = _review.decode(body)
        except Refused as problem:
            if problem.status == 401:
                self._credentials.refused(token)
            else:
                self._complain(str(problem))
        except (ConnectError, ReadError, TimeoutError) as problem:
            _log.debug("whose a token is could not be asked: {problem}", problem=problem)
            self._asked.pop(digest, None)
        except JSON_FAULTS as problem:
            self._complain(f"{PATH}: {problem}")
        else:
            if review.kind == "SelfSubjectReview" and self._credentials.accepted(
                token, review.status.userInfo.username
            ):
                self._asked.pop(digest, None)

    def _complain(self, problem: str) -> None:
        if not self._complained:
            self._complained = True
            _log.warn(
                "the API server does not say whose tokens are, so that offline only those are believed which "
                "the keys of its issuer signed: {problem}",
                problem=problem,
            )
