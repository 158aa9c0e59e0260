"""One request on its way to the cloud and its answer on the way back, byte for byte, both streaming."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from superedge.kube.deletion import is_dry_run
from superedge.liteapiserver.access.authrequests import QuestionRecorder
from superedge.liteapiserver.access.caller import Caller
from superedge.liteapiserver.access.credentials import ANONYMOUS
from superedge.liteapiserver.forward.filtered import FilteredBody, FilteredWatch
from superedge.liteapiserver.upstream.origin import BALANCER, DoubtfulAnswer, Origin, origin
from superedge.net.errors import ConnectError
from superedge.net.splice import splice
from superedge.web.channels import ChannelSource, UpstreamChannel
from superedge.web.client import UpstreamConnection
from superedge.web.heads import HOP_BY_HOP, Headers, ResponseHead, response_head, split_headers

if TYPE_CHECKING:
    from superedge.liteapiserver.cache.recorders import Recorder
    from superedge.liteapiserver.forward.incoming import Incoming
    from superedge.liteapiserver.frontend import Frontend
    from superedge.web.server import Request

MAX_OPTIONS = 64 * 1024
"""Bytes of the longest DeleteOptions that are read."""

_log = Logger()


class Exchange:
    """Forwards one request; it is the receiver of the request's body and of the response."""

    __slots__ = (
        "_asked",
        "_caller",
        "_client",
        "_connecting",
        "_connection",
        "_done",
        "_doubtful",
        "_frontend",
        "_has_body",
        "_incoming",
        "_info",
        "_interim_seen",
        "_options",
        "_patience",
        "_question",
        "_recorder",
        "_request",
        "_retried",
        "_round",
        "_source",
        "_started",
        "_switch_head",
        "heard_at",
        "started_at",
    )

    def __init__(
        self,
        frontend: Frontend,
        request: Request,
        incoming: Incoming,
        caller: Caller,
        now: float,
    ) -> None:
        """``incoming`` is what the request's head says."""
        self._frontend = frontend
        self._request = request
        self._client: Request | FilteredBody | FilteredWatch = request
        """Where the answer goes."""
        self._incoming = incoming
        self._info = incoming.info
        self._caller = caller
        self.started_at = now
        self.heard_at = now
        """When more of the answer came last, or when it was asked for."""
        self._patience = incoming.patience
        pool = caller.pool
        self._source: ChannelSource = pool.shared if incoming.shares and pool.shared is not None else pool
        self._connection: UpstreamChannel | None = None
        self._connecting: Deferred[UpstreamChannel] | None = None
        self._recorder: Recorder | None = None
        self._asked = frontend.cache.asked(caller.identity, incoming.info)
        self._question: QuestionRecorder | None = None
        if incoming.is_question and caller.is_known and caller.identity != ANONYMOUS:
            self._question = QuestionRecorder(frontend.questions, caller.identity, incoming.info)
        deletes = incoming.info.verb in ("delete", "deletecollection")
        self._options: bytearray | None = bytearray() if deletes else None
        """The body of a deletion, as far as it came; None when it is too long."""
        self._doubtful: DoubtfulAnswer | None = None
        self._round: list[bytes] = []
        """What the recorder is to see after the client."""
        self._has_body = False
        """Whether some of the request is still to be sent."""
        self._started = False
        self._done = False
        self._retried = False
        self._interim_seen = False
        self._switch_head = b""

    @property
    def waiting(self) -> bool:
        """Whether no answer has begun."""
        return not self._started and not self._done

    @property
    def is_awaited(self) -> bool:
        """Whether the client waits for the answer, or for the rest of it."""
        return not self._done and not (self._started and self._is_settled)

    @property
    def is_watch(self) -> bool:
        """Whether it is a watch that is answered now."""
        return self._started and self._info.verb == "watch"

    # -- towards the cloud

    def begin(self) -> None:
        """Send the request, over an idle connection if there is one."""
        connection = self._source.take_idle(proven=not self._incoming.repeatable)
        if connection is not None:
            self._send(connection)
        else:
            self._connect()

    def _connect(self) -> None:
        # What comes of the body waits in the client's socket, not here.
        self._request.pauseProducing()
        connecting = self._connecting = self._source.connect()
        connecting.addCallbacks(self._connected, self._not_connected)
        connecting.addErrback(self._unexpected)

    def _connected(self, connection: UpstreamChannel) -> None:
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

    def _send(self, connection: UpstreamChannel) -> None:
        self._connection = connection
        outgoing = self._incoming.outgoing
        self._has_body = outgoing.has_body
        connection.begin(outgoing, self)
        if self._has_body:
            connection.body_from(self._request)
        self._request.receive(self)

    # -- RequestReceiver

    def body(self, data: bytes) -> None:
        """A piece of the request's body."""
        if self._question is not None:
            self._question.question.add(data)
        if self._options is not None:
            self._options += data
            if len(self._options) > MAX_OPTIONS:
                self._options = None
        connection = self._connection
        if connection is not None and not self._done:
            connection.send(data)

    def body_end(self, trailers: Headers) -> None:
        """The request is complete."""
        if self._question is not None:
            self._question.whole = True
        connection = self._connection
        if connection is None or not self._has_body:
            return
        self._has_body = False
        connection.end(trailers)

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
        whose = origin(self._info, status, head.passed_on()[1])
        if whose is Origin.API_SERVER:
            self._frontend.health.answered()
            self._answer(head)
        elif whose is Origin.DOUBTFUL:
            self._doubtful = DoubtfulAnswer(head)
        else:
            self._stranger_answered(head)

    def _stranger_answered(self, head: ResponseHead) -> None:
        """No API server is behind the address: for a read the cache has the better answer."""
        self._frontend.health.failed(f"a load balancer or a portal answered {head.status}")
        if self._done:
            return  # that was enough to go offline
        if self._is_answerable or head.status not in BALANCER:
            self._drop_upstream()
            self._answer_without(sent=True)
        else:
            self._answer(head)

    def _settle_doubt(self, answer: DoubtfulAnswer) -> None:
        """Enough of the body of a doubtful answer is here."""
        self._doubtful = None
        if answer.is_genuine:
            self._frontend.health.answered()
            self._answer(answer.head)
        else:
            self._stranger_answered(answer.head)
        if not self._done:
            self.data(answer.pieces)

    def _answer(self, head: ResponseHead) -> None:
        """Begin the client's response."""
        frontend, info, status = self._frontend, self._info, head.status
        lines, noted = head.passed_on()
        content_type = noted.get(b"content-type", b"")
        audited = b"audit-id" in noted
        if audited:  # what stands before an API server may answer anybody
            frontend.check_token(self._caller, info, status)
        if status == 200 and self._incoming.filtered:
            if info.verb == "watch":
                known = partial(frontend.cache.known, self._caller.identity, info)
                self._client = FilteredWatch(self._request, frontend.filters, info, known, self.client_lost)
            else:
                self._client = FilteredBody(self._request, frontend.filters, info, self.client_lost)
        bounded = b"content-length" in noted or status in (204, 304) or self._request.head.method == b"HEAD"
        self._started = True
        frontend.answering(self, info, status)
        if self._question is not None and audited:
            self._question.answered(status, content_type)
        if info.is_read and self._caller.is_known:
            encoding, etag = noted.get(b"content-encoding", b""), noted.get(b"etag", b"")
            self._recorder = frontend.cache.record(
                self._caller.identity,
                info,
                status,
                content_type,
                encoding,
                etag,
                audited,
                self._asked,
            )
        elif status < 300 and self._caller.is_known and not info.opaque:
            encoding = noted.get(b"content-encoding", b"")
            self._recorder = frontend.cache.record_write(
                self._caller.identity, info, content_type, encoding, self._asked, self._is_dry_run
            )
        if self._client is self._request:
            self._request.start_lines(status, head.reason, lines, bounded)
        else:
            headers, _ = split_headers(head.headers, HOP_BY_HOP)
            self._client.start(status, head.reason, headers, bounded)

    def _informational(self, head: ResponseHead) -> None:
        if head.status == 101:
            self._switch_head = response_head(101, head.reason, head.headers)
            self._frontend.check_token(self._caller, self._info, 101)
        elif self._request.head.version == "1.1":
            self._interim_seen = True
            self._request.interim(response_head(head.status, head.reason, head.headers))

    def _is_dry_run(self) -> bool:
        """Whether a deletion's body says that nothing is to be deleted."""
        if self._info.verb not in ("delete", "deletecollection"):
            return False
        return self._options is None or is_dry_run(bytes(self._options))

    def data(self, pieces: list[bytes]) -> None:
        """Pieces of the body."""
        if self._doubtful is not None:
            if self._doubtful.data(pieces):
                self._settle_doubt(self._doubtful)
            return
        self._client.write(pieces)
        if self._recorder is not None:
            self._round += pieces
        if self._question is not None:
            self._question.data(pieces)

    def round_done(self) -> None:
        """Send on what came, then let the cache see it."""
        if self._done or not self._started:
            return
        if self._info.verb != "watch":
            self.heard_at = self._frontend.health.answered()
        self._client.flush()
        if self._connection is not None:
            self._request.throttle(self._connection.producer)
        if self._recorder is not None and self._round:
            pieces, self._round = self._round, []
            self._recorder.data(pieces)

    def complete(self, trailers: Headers) -> None:
        """The response is whole."""
        if self._doubtful is not None:
            self._settle_doubt(self._doubtful)
            if self._done:
                return
        self._finish()
        connection = self._connection
        if self._has_body and connection is not None:
            connection.give_up_body()
        self._client.finish(trailers)
        recorder, self._recorder = self._recorder, None
        if recorder is not None:
            if self._round:
                recorder.data(self._round)
            recorder.complete()
        if self._question is not None:
            self._question.complete()

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
        if stale and self._incoming.repeatable and not self._retried:
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
        if self._info.verb == "watch" and settled:
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

    def give_up_if_silent(self, now: float, proven_at: float) -> None:
        """End what has been silent for too long, when a probe that began since got through."""
        allowed = self._patience
        connection = self._connection
        if connection is None or allowed is None or self._has_body or not self.waiting:
            return
        silent = now - self.heard_at
        if silent > allowed and proven_at > self.heard_at:
            connection.give_up(f"no answer within {silent:.0f} s, while new connections work")

    def _unreachable(self, reason: str, sent: bool) -> None:
        self._frontend.health.failed(reason)
        if not self._done:  # going offline may have answered it
            self._answer_without(sent)

    @property
    def _is_answerable(self) -> bool:
        """Whether the cache may answer what was sent to the cloud: it changes nothing there."""
        return self._info.is_read or self._incoming.is_question

    def _answer_without(self, sent: bool) -> None:
        self._finish()
        question = self._question
        if question is not None:
            body, whole = question.question, question.whole
            self._frontend.ask_offline(self._request, self._info, self._caller, body, whole)
        elif sent and not (self._is_answerable or self._incoming.repeatable):
            self._frontend.undecided(self._request, self._info)
        else:
            self._frontend.answer_offline(self._request, self._info, self._caller)

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
