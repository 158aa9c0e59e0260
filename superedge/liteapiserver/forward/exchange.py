"""Forwards one request to the cloud and streams the response back, both byte for byte."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from superedge.liteapiserver.access.caller import Caller
from superedge.liteapiserver.forward.filtered import FilteredBody, FilteredWatch, filtered_client
from superedge.liteapiserver.forward.recording import ExchangeRecording
from superedge.liteapiserver.forward.upstreamrequest import UpstreamRequest
from superedge.liteapiserver.upstream.origin import BALANCER, Origin, UndecidedResponse, origin
from superedge.net.splice import splice
from superedge.web.channels import SwitchedConnection
from superedge.web.heads import HOP_BY_HOP, Headers, ResponseHead, response_head, split_headers

if TYPE_CHECKING:
    from superedge.kube.objects import Item
    from superedge.liteapiserver.cache.scopes import Name
    from superedge.liteapiserver.forward.incoming import IncomingRequest
    from superedge.liteapiserver.forward.owner import ExchangeOwner
    from superedge.web.serverrequest import Request

_log = Logger()


class Exchange:
    """Receives the request's body from the client and the response from the cloud."""

    __slots__ = (
        "_base",
        "_caller",
        "_client",
        "_done",
        "_ended",
        "_incoming",
        "_info",
        "_interim_seen",
        "_owner",
        "_recording",
        "_request",
        "_started",
        "_switch_head",
        "_undecided",
        "_upstream",
        "heard_at",
        "is_doubtful",
        "started_at",
    )

    def __init__(
        self,
        owner: ExchangeOwner,
        request: Request,
        incoming: IncomingRequest,
        caller: Caller,
        now: float,
        ended: Callable[[Exchange], None],
        base: Mapping[Name, Item] | None = None,
    ) -> None:
        """``now`` is in reactor seconds; ``ended`` is called once, when the exchange has ended; ``base`` is
        for the filter of a watch.
        """
        self._owner = owner
        self._request = request
        self._client: Request | FilteredBody | FilteredWatch = request
        """Takes the response: the request itself, or a filter in front of it."""
        self._incoming = incoming
        self._base = base
        self._info = incoming.info
        self._caller = caller
        self.started_at = now
        self.heard_at = now
        """When some of the response came last, or else when the request came, reactor seconds."""
        self.is_doubtful = False
        """Whether nothing has come since the cloud was lost."""
        self._upstream = UpstreamRequest(request, incoming, caller.pool)
        self._recording = ExchangeRecording(owner.cache, owner.auth_requests, incoming, caller)
        self._undecided: UndecidedResponse | None = None
        """A response that is held back until its body shows whether an API server sent it."""
        self._started = False
        self._ended = ended
        self._done = False
        self._interim_seen = False
        self._switch_head = b""

    @property
    def waiting(self) -> bool:
        """Whether no response has begun."""
        return not self._started and not self._done

    @property
    def is_awaited(self) -> bool:
        """Whether the client waits for the response, or for the rest of it."""
        return not self._done and not (self._started and self._can_end_here)

    @property
    def is_watch(self) -> bool:
        """Whether it is a watch whose response has begun."""
        return self._started and self._info.verb == "watch"

    def begin(self) -> None:
        """Send the request."""
        self._upstream.begin(self)

    # -- RequestOwner

    def unreachable(self, reason: str) -> None:
        """There is no connection to the cloud, and nothing was sent."""
        if not self._done:
            self._failed_upstream(reason, sent=False)

    def unexpected(self, failure: Failure) -> None:
        """The request could not be sent for a reason that is no failure of the cloud."""
        _log.failure("request could not be forwarded", failure)
        if not self._done:
            self._finish()
            self._request.abort()

    # -- RequestReceiver

    def body(self, data: bytes) -> None:
        """Send on some of the request's body."""
        self._recording.request_data(data)
        if not self._done:
            self._upstream.body(data)

    def body_end(self, trailers: Headers) -> None:
        """The request is complete."""
        self._recording.request_complete()
        self._upstream.body_end(trailers)

    def client_lost(self) -> None:
        """The client closed the connection: give the request up."""
        if not self._done:
            self._recording.abort()
            self._finish()
            self._upstream.drop()

    # -- ResponseReceiver

    def response(self, head: ResponseHead) -> None:
        """Take the status and headers."""
        status = head.status
        if status < 200:
            self._informational(head)
            return
        noted = head.forwarded()[1]
        sender = Origin.API_SERVER if b"audit-id" in noted else origin(self._info, status, noted)
        if sender is Origin.API_SERVER:
            self._owner.health.request_answered()
            self._answer(head)
        elif sender is Origin.UNDECIDED:
            self._undecided = UndecidedResponse(head)
        else:
            self._not_api_server(head)

    def _not_api_server(self, head: ResponseHead) -> None:
        """A load balancer or a portal answered: for a read the cache has the better answer."""
        self._owner.health.request_failed(f"a load balancer or a portal answered with status {head.status}")
        if self._done:
            return  # that failure ended the online state, and the request was answered
        if self._is_answerable or head.status not in BALANCER:
            self._upstream.drop()
            self._answer_without(sent=True)
        else:
            self._answer(head)

    def _decide(self, response: UndecidedResponse) -> None:
        """Pass on a response whose body now shows whether an API server sent it."""
        self._undecided = None
        if response.is_status:
            self._owner.health.request_answered()
            self._answer(response.head)
        else:
            self._not_api_server(response.head)
        if not self._done:
            self.data(response.chunks)

    def _answer(self, head: ResponseHead) -> None:
        """Begin the client's response."""
        owner, info, status = self._owner, self._info, head.status
        lines, noted = head.forwarded()
        if b"audit-id" in noted:  # without it the response may come from something before the API server
            owner.check_token(self._caller, info, status)
        if status == 200 and self._incoming.filtered:
            base, self._base = self._base, None
            self._client = filtered_client(
                self._request, owner.filters, info, self._caller.identity, base, self.client_lost
            )
        bounded = b"content-length" in noted or status in (204, 304) or self._request.head.method == b"HEAD"
        self._started = True
        owner.answering(info, status, self.started_at)
        self._recording.response(
            status, noted, believed=status != 403 or owner.believes_refusal(self._caller)
        )
        if self._client is self._request:
            self._request.start_lines(status, head.reason, lines, bounded)
        else:
            headers, _ = split_headers(head.headers, HOP_BY_HOP)
            self._client.start(status, head.reason, headers, bounded)

    def filters_changed(self, resource: tuple[str, str]) -> None:
        """The filters of a resource, group and name, show objects differently: tell a watch."""
        client = self._client
        if not self._done and isinstance(client, FilteredWatch) and client.resource == resource:
            client.changed()

    def _informational(self, head: ResponseHead) -> None:
        if head.status == 101:
            self._switch_head = response_head(101, head.reason, head.headers)
            self._owner.check_token(self._caller, self._info, 101)
        elif self._request.head.version == "1.1":
            self._interim_seen = True
            self._request.interim(response_head(head.status, head.reason, head.headers))

    def data(self, chunks: list[bytes]) -> None:
        """Send on some of the body."""
        if self._undecided is not None:
            if self._undecided.data(chunks):
                self._decide(self._undecided)
            return
        self._client.write(chunks)
        self._recording.data(chunks)

    def read_complete(self) -> None:
        """Flush what was written to the client, then give the cache its copy."""
        if self._done or not self._started:
            return
        self.is_doubtful = False
        if self._info.verb != "watch" or self.is_awaited:
            self.heard_at = self._owner.health.request_answered()
        self._client.flush()
        if self._upstream.connection is not None:
            self._request.throttle(self._upstream.connection.producer)
        self._recording.flush()

    def complete(self, trailers: Headers) -> None:
        """The response is whole."""
        if self._undecided is not None:
            self._decide(self._undecided)
            if self._done:
                return
        self._finish()
        self._upstream.answered()
        self._client.finish(trailers)
        if self._incoming.filtered:
            self._owner.answers.wrote_whole(self._request, self._caller)
        self._recording.complete()

    def switched(self, connection: SwitchedConnection, rest: bytes) -> None:
        """The server switched protocols: from here on bytes pass unchanged in both directions."""
        self._started = True
        self._owner.answering(self._info, 101, self.started_at)
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
        if self._upstream.failed(self, may_repeat=not (self._started or self._interim_seen)):
            return
        if self._started:
            self._cut_short(reason)
        else:
            self._failed_upstream(reason, sent=True)

    def _cut_short(self, reason: str) -> None:
        owner = self._owner
        can_end_here = self._can_end_here
        self._recording.abort()
        self._finish()
        owner.health.probe_soon()
        if self._info.verb == "watch" and can_end_here:
            owner.answers.hold(self._request, self._info, self.started_at)
        else:
            _log.info("the response to {path} was cut short: {reason}", path=self._info.path, reason=reason)
            self._request.abort()

    # -- without the cloud

    def went_offline(self) -> None:
        """The cloud is away: answer from the cache, or end the response so that the client asks again."""
        if self.waiting:
            sent = self._upstream.connection is not None
            self._upstream.drop()
            self._answer_without(sent)
        elif not self._done and not self._can_end_here:
            _log.info("the response to {path} is ended: the cloud is offline", path=self._info.path)
            self._recording.abort()
            self._finish()
            self._upstream.drop()
            self._request.abort()

    def came_online(self) -> None:
        """The cloud is back: end a watch whose connection has been silent since the outage began.

        After a long outage, the server may wait as long again before it repeats what was lost.
        """
        if self.is_doubtful and self.is_watch and not self._done:
            self._upstream.drop()
            self._cut_short("nothing came since the cloud was lost")

    @property
    def _can_end_here(self) -> bool:
        """Whether the client needs no more of a response that has begun."""
        info = self._info
        if info.verb == "watch" and not info.flag("sendInitialEvents"):
            return True
        if not info.is_read or (info.is_resource and info.subresource):
            return True  # a stream, such as logs
        return self._recording.resumable

    def give_up_if_silent(self, now: float, proven_at: float) -> None:
        """End a request without a response for too long, if a probe that began since then succeeded.

        Times are in reactor seconds; ``proven_at`` is when that probe began.
        """
        if self.waiting and proven_at > self.heard_at:
            self._upstream.give_up_if_silent(now - self.heard_at)

    def _failed_upstream(self, reason: str, sent: bool) -> None:
        self._owner.health.request_failed(reason)
        if not self._done:  # the change to offline may have answered it
            self._answer_without(sent)

    @property
    def _is_answerable(self) -> bool:
        """Whether the cache may answer although the request was sent: it changes nothing in the cloud."""
        return self._info.is_read or self._incoming.is_auth_request

    def _answer_without(self, sent: bool) -> None:
        self._finish()
        auth_request = self._recording.auth_request
        if auth_request is not None:
            self._owner.answers.auth_request(
                self._request, self._info, self._caller, auth_request.body, auth_request.whole
            )
        elif sent and not (self._is_answerable or self._incoming.repeatable):
            self._owner.answers.unknown_outcome(self._request, self._info)
        else:
            self._owner.answers.offline(self._request, self._info, self._caller)

    def _finish(self) -> None:
        self._done = True
        if isinstance(self._client, FilteredBody):
            self._client.release()
        self._ended(self)
