"""One request on its way to the cloud and its answer on the way back, byte for byte, both streaming."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from superedge.kube.errors import DecodeError
from superedge.kube.media import without_cbor
from superedge.kube.request import RequestInfo
from superedge.kube.status import is_status
from superedge.liteapiserver.filters import FAILED, WatchFilter, hidden
from superedge.liteapiserver.questions import MAX_BODY, is_question
from superedge.net.errors import ConnectError
from superedge.net.splice import splice
from superedge.web.client import Pool, UpstreamConnection
from superedge.web.h1 import (
    HOP_BY_HOP,
    Headers,
    ResponseHead,
    chunk,
    last_chunk,
    request_head,
    response_head,
    split_headers,
)

if TYPE_CHECKING:
    from superedge.liteapiserver.cache.recorders import Recorder
    from superedge.liteapiserver.frontend import Frontend
    from superedge.web.server import Request

_BALANCER = frozenset({502, 503, 504})
_STATUS_TYPES = (b"application/json", b"application/vnd.kubernetes.protobuf")
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS"})
# What a captive portal says; an API server has no reason to.
_ELSEWHERE = frozenset({301, 302, 303, 307, 308, 511})

_log = Logger()


class Caller:
    """Who asks: the pool that speaks for it, and its name in the cache.

    ``authorization`` is set when it is what names the client, and not a certificate.
    """

    __slots__ = ("authorization", "identity", "pool")

    def __init__(self, pool: Pool, identity: str, authorization: bytes = b"") -> None:
        self.pool = pool
        self.identity = identity
        self.authorization = authorization


class Exchange:
    """Forwards one request; it is the receiver of the request's body and of the response."""

    __slots__ = (
        "_caller",
        "_chunked",
        "_connecting",
        "_connection",
        "_done",
        "_frontend",
        "_has_body",
        "_headers",
        "_held",
        "_info",
        "_interim_seen",
        "_noted",
        "_question",
        "_question_answer",
        "_recorder",
        "_request",
        "_retried",
        "_round",
        "_started",
        "_switch_head",
        "_unfiltered",
        "_watch_filter",
        "started_at",
    )

    def __init__(
        self,
        frontend: Frontend,
        request: Request,
        info: RequestInfo,
        caller: Caller,
        headers: Headers,
        noted: dict[bytes, bytes],
        now: float,
    ) -> None:
        """``headers`` and ``noted`` are the request's, as `split_headers` gives them."""
        self._frontend = frontend
        self._request = request
        self._info = info
        self._caller = caller
        self._headers = headers
        self._noted = noted
        self.started_at = now
        self._connection: UpstreamConnection | None = None
        self._connecting: Deferred[UpstreamConnection] | None = None
        self._recorder: Recorder | None = None
        self._held: tuple[ResponseHead, list[bytes]] | None = None
        self._round: list[bytes] = []
        self._unfiltered: tuple[Headers, list[bytes]] | None = None
        self._watch_filter: WatchFilter | None = None
        self._has_body = False
        self._chunked = False
        self._started = False
        self._done = False
        self._retried = False
        self._interim_seen = False
        self._switch_head = b""
        self._question: list[bytes] | None = [] if is_question(info) else None
        self._question_answer: tuple[bytes, list[bytes]] | None = None

    @property
    def waiting(self) -> bool:
        """Whether no answer has begun."""
        return not self._started and not self._done

    @property
    def is_watch(self) -> bool:
        """Whether it is a watch that is answered now."""
        return self._started and self._info.verb == "watch"

    # -- towards the cloud

    def begin(self) -> None:
        """Send the request, over an idle connection if there is one."""
        connection = self._caller.pool.take_idle()
        if connection is not None:
            self._send(connection)
        else:
            self._connect()

    def _connect(self) -> None:
        # What comes of the body waits in the client's socket, not here.
        self._request.pauseProducing()
        self._connecting = self._caller.pool.connect()
        self._connecting.addCallbacks(self._connected, self._not_connected)
        self._connecting.addErrback(self._unexpected)

    def _connected(self, connection: UpstreamConnection) -> None:
        self._connecting = None
        if self._done:
            connection.abandon()
            return
        self._request.resumeProducing()
        self._send(connection)

    def _not_connected(self, failure: Failure) -> None:
        self._connecting = None
        if failure.check(CancelledError):
            return
        failure.trap(ConnectError)
        if self._done:
            return
        self._request.resumeProducing()
        self._unreachable(failure.getErrorMessage(), sent=False)

    def _unexpected(self, failure: Failure) -> None:
        _log.failure("request could not be forwarded", failure)
        if not self._done:
            self._finish()
            self._request.abort()

    def _send(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        head = self._request.head
        method = head.method
        forwarded = self._forwarded_head()
        connection.request(forwarded, method == b"HEAD", not self._has_body, self)
        if self._has_body:
            connection.transport.registerProducer(self._request, True)
        self._request.receive(self)

    def _forwarded_head(self) -> bytes:
        head, noted = self._request.head, self._noted
        lines = [(b"Host", self._frontend.host), *self._headers]
        if b"cbor" in noted.get(b"accept", b"").lower():
            lines = [
                (name, without_cbor(value) if name.lower() == b"accept" else value) for name, value in lines
            ]
        if head.upgrade:
            # Everything after the head goes through as it is once the server agrees.
            lines += [(b"Connection", b"Upgrade"), (b"Upgrade", noted.get(b"upgrade", b""))]
        elif b"transfer-encoding" in noted:
            self._has_body = self._chunked = True
            lines.append((b"Transfer-Encoding", b"chunked"))
        else:
            self._has_body = noted.get(b"content-length", b"0") != b"0"
        return request_head(head.method, head.target, lines)

    # -- RequestReceiver

    def body(self, data: bytes) -> None:
        """A piece of the request's body."""
        if self._question is not None:
            self._question.append(data)
            if sum(map(len, self._question)) > MAX_BODY:
                self._question = None
        connection = self._connection
        if connection is not None and not self._done:
            connection.transport.writeSequence(chunk([data]) if self._chunked else [data])

    def body_end(self, trailers: Headers) -> None:
        """The request is complete."""
        connection = self._connection
        if connection is None or not self._has_body:
            return
        if self._chunked:
            connection.transport.write(last_chunk(trailers))
        connection.transport.unregisterProducer()
        self._has_body = False
        connection.request_sent()

    def client_lost(self) -> None:
        """The client is gone: so is the reason to ask."""
        if not self._done:
            self._abort_recorder()
            self._finish()
            self._drop_upstream()

    # -- ResponseReceiver

    def response(self, head: ResponseHead) -> None:
        """The status and headers."""
        status = head.status
        if status < 200:
            self._informational(head)
            return
        headers, noted = split_headers(head.headers, HOP_BY_HOP)
        kind = noted.get(b"content-type", b"")
        if b"audit-id" in noted or (status not in _BALANCER and not self._is_strange(status, kind)):
            self._frontend.health.answered()
            self._answer(head, headers, noted)
        elif kind.startswith(_STATUS_TYPES):
            # An API server without audit says so in its body: hold the answer until that is here.
            self._held = (head, [])
        else:
            self._stranger_answered(head)

    def _is_strange(self, status: int, content_type: bytes) -> bool:
        """Whether it answers for an object what no API server does: a page, or the way to another server."""
        info = self._info
        if not info.is_resource or info.subresource or info.verb == "proxy":
            return False
        return status in _ELSEWHERE or content_type.startswith(b"text/html")

    def _stranger_answered(self, head: ResponseHead) -> None:
        """No API server is behind the address: for a read the cache has the better answer."""
        self._frontend.health.failed(f"a load balancer or a portal answered {head.status}")
        if self._done:
            return  # that was enough to go offline
        if self._info.is_read or head.status not in _BALANCER:
            self._drop_upstream()
            self._answer_without(sent=True)
        else:
            self._answer(head, *split_headers(head.headers, HOP_BY_HOP))

    def _release_held(self, head: ResponseHead, pieces: list[bytes]) -> None:
        """The body of a doubtful answer is here."""
        self._held = None
        if is_status(b"".join(pieces)):
            self._frontend.health.answered()
            self._answer(head, *split_headers(head.headers, HOP_BY_HOP))
        else:
            self._stranger_answered(head)
        if not self._done:
            self.data(pieces)

    def _answer(self, head: ResponseHead, headers: Headers, noted: dict[bytes, bytes]) -> None:
        """Begin the client's response."""
        frontend, status = self._frontend, head.status
        self._check_credentials(status)
        filtered = status == 200 and frontend.filters.active and frontend.filters.covers(self._info)
        if filtered and self._info.verb == "watch":
            self._watch_filter = WatchFilter(frontend.filters, self._info)
        bounded = b"content-length" in noted or status in (204, 304) or self._request.head.method == b"HEAD"
        self._started = True
        frontend.answering(self, self._info, status)
        if status == 201 and self._question is not None:
            self._question_answer = (noted.get(b"content-type", b""), [])
        if self._info.is_read:
            self._recorder = frontend.cache.record(
                self._caller.identity,
                self._info,
                status,
                noted.get(b"content-type", b""),
                noted.get(b"content-encoding", b""),
                noted.get(b"etag", b""),
            )
        elif status < 300 and self._info.is_resource:
            frontend.cache.wrote(self._caller.identity, self._info)
        if filtered and self._info.verb != "watch":
            self._unfiltered = ([pair for pair in headers if pair[0].lower() != b"content-length"], [])
        else:
            self._request.start(status, head.reason, headers, bounded)

    def _informational(self, head: ResponseHead) -> None:
        if head.status == 101:
            self._switch_head = response_head(101, head.reason, head.headers)
        elif self._request.head.version == "1.1":
            self._interim_seen = True
            self._request.interim(response_head(head.status, head.reason, head.headers))

    def _check_credentials(self, status: int) -> None:
        caller = self._caller
        if caller.authorization:
            if status == 401:
                self._frontend.credentials.refused(caller.authorization)
            elif status < 300:
                self._frontend.credentials.accepted(caller.authorization)

    def data(self, pieces: list[bytes]) -> None:
        """Pieces of the body."""
        if self._held is not None:
            self._held[1].extend(pieces)
            if sum(map(len, self._held[1])) > MAX_BODY:
                self._release_held(*self._held)
            return
        if self._unfiltered is not None:
            self._unfiltered[1].extend(pieces)
        elif self._watch_filter is not None:
            self._write_events(self._watch_filter, pieces)
        else:
            self._request.write(pieces)
        if self._recorder is not None:
            self._round += pieces
        if self._question_answer is not None:
            self._question_answer[1].extend(pieces)

    def _write_events(self, watch_filter: WatchFilter, pieces: list[bytes]) -> None:
        try:
            self._request.write(watch_filter.feed(pieces))
        except Exception:
            _log.failure("a response filter failed on {path}", path=self._info.path)
            self.client_lost()
            self._request.abort()

    def _respond_filtered(self, headers: Headers, pieces: list[bytes]) -> None:
        filters = self._frontend.filters
        try:
            body = filters.body(self._info, b"".join(pieces))
        except Exception:
            _log.failure("a response filter failed on {path}", path=self._info.path)
            self._request.respond(500, [(b"Content-Type", b"application/json")], FAILED)
            return
        if body is None:
            answer = hidden(self._info)
            self._request.respond(answer.status, answer.headers, answer.body)
        else:
            self._request.respond(200, headers, body)

    def round_done(self) -> None:
        """Send on what came, then let the cache see it."""
        if self._done or not self._started:
            return
        if self._info.verb != "watch":
            self._frontend.health.answered()
        if self._unfiltered is None:
            self._request.flush()
        if self._connection is not None:
            self._request.throttle(self._connection.transport)
        if self._recorder is not None and self._round:
            pieces, self._round = self._round, []
            self._recorder.data(pieces)

    def complete(self, trailers: Headers) -> None:
        """The response is whole."""
        if self._held is not None:
            self._release_held(*self._held)
            if self._done:
                return
        self._finish()
        connection = self._connection
        if self._has_body and connection is not None:
            # Answered before the request was read to its end: its connection serves no other.
            connection.transport.unregisterProducer()
            connection.usable = False
            connection.transport.loseConnection()
        if self._unfiltered is not None:
            self._respond_filtered(*self._unfiltered)
        else:
            self._request.finish(trailers)
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            if self._round:
                recorder.data(self._round)
            recorder.complete()
        if self._question_answer is not None:
            self._keep_answer(*self._question_answer)

    def _keep_answer(self, content_type: bytes, answer: list[bytes]) -> None:
        try:
            self._frontend.questions.record(
                self._caller.identity,
                self._info,
                b"".join(self._question or ()),
                content_type.decode("latin-1"),
                b"".join(answer),
            )
        except DecodeError as problem:
            _log.warn(
                "an answer to {path} is not kept for later: {problem}", path=self._info.path, problem=problem
            )

    def switched(self, connection: UpstreamConnection, rest: bytes) -> None:
        """The server speaks another protocol from here on: bytes go through as they are."""
        self._started = True
        self._frontend.answering(self, self._info, 101)
        self._finish()
        early = self._request.hijack(self._switch_head)
        client: Any = self._request.transport
        if rest:
            client.write(rest)
        if early:
            connection.transport.write(early)
        splice(client, connection.transport).addCallback(
            lambda _: connection.lost(connection) if connection.lost is not None else None
        )

    def failed(self, reason: str) -> None:
        """The connection ended before the response did."""
        if self._done:
            return
        connection, self._connection = self._connection, None
        if self._started:
            self._cut_short(reason)
            return
        stale = connection is not None and connection.used and not self._interim_seen
        if stale and not self._retried and self._request.head.method in _IDEMPOTENT and not self._has_body:
            # The server closed a kept connection at the moment we wrote to it.
            self._retried = True
            self._connect()
            return
        self._unreachable(reason, sent=True)

    def _cut_short(self, reason: str) -> None:
        frontend = self._frontend
        settled = self._is_settled
        self._abort_recorder()
        self._finish()
        frontend.health.doubt()
        if self._info.verb == "watch" and settled and not frontend.health.online:
            frontend.hold(self._request, self._info, self.started_at)
        else:
            _log.info("an answer to {path} was cut short: {reason}", path=self._info.path, reason=reason)
            self._request.abort()

    # -- without the cloud

    def went_offline(self) -> None:
        """The cloud is given up: answer what has no answer yet, and let what is stuck be asked again."""
        if self.waiting:
            sent = self._connection is not None
            self._drop_upstream()
            self._answer_without(sent)
        elif not self._done and not self._is_settled:
            _log.info("an answer to {path} is stuck", path=self._info.path)
            self._abort_recorder()
            self._finish()
            self._drop_upstream()
            self._request.abort()

    @property
    def _is_settled(self) -> bool:
        """Whether the client of an answer that has begun may be left with what it got."""
        info = self._info
        if info.verb == "watch" and not info.flag("sendInitialEvents"):
            return True
        if not info.is_read or (info.is_resource and info.subresource):
            return True  # a stream, such as logs
        return self._recorder is not None and self._recorder.settled

    def _unreachable(self, reason: str, sent: bool) -> None:
        self._frontend.health.failed(reason)
        if not self._done:  # going offline may have answered it
            self._answer_without(sent)

    def _answer_without(self, sent: bool) -> None:
        self._finish()
        if sent and not self._info.is_read:
            self._frontend.undecided(self._request, self._info)
        else:
            self._frontend.answer_offline(
                self._request, self._info, self._caller, b"".join(self._question or ())
            )

    def _finish(self) -> None:
        self._done = True
        self._frontend.finished(self)

    def _abort_recorder(self) -> None:
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            if self._round:
                recorder.data(self._round)
            recorder.abort()

    def _drop_upstream(self) -> None:
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
            self._request.resumeProducing()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()
