"""A client of the Kubernetes API: single requests and watches, in JSON.

Request bodies are objects that msgspec can encode. Response bodies are bytes, of which the caller decodes
what it needs. A write with a resourceVersion fails with 409 when the object has changed (optimistic
concurrency).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlencode

import msgspec
from twisted.internet.defer import Deferred, TimeoutError
from twisted.python.failure import Failure

from superedge import __version__
from superedge.errors import IdentityError, SuperEdgeError
from superedge.interfaces import IReactor
from superedge.kube.access import Access
from superedge.kube.errors import JSON_FAULTS, APIError, DecodeError, Unavailable
from superedge.kube.json import DeepJSONCodec
from superedge.kube.objects import WatchEvent
from superedge.net.errors import ConnectError
from superedge.net.servers import Servers
from superedge.web.channels import SwitchedConnection
from superedge.web.client import H1Connection
from superedge.web.heads import Headers, ResponseHead, request_head
from superedge.web.pool import IDLE_TIMEOUT, Pool

MERGE_PATCH = "application/merge-patch+json"
MAX_BODY = 64 * 1024 * 1024
"""Maximum bytes of a response or watch event."""
WATCH_GRACE = 30.0
"""Seconds after its time limit at which a watch that did not end is cancelled."""

_codec = DeepJSONCodec()


class Resource(NamedTuple):
    """A resource type as paths name it; ``group`` is empty for the core group."""

    group: str
    version: str
    plural: str

    def path(self, namespace: str = "", name: str = "") -> str:
        """The path of one object, or of all objects in a namespace or in the cluster."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        return "/" + "/".join(quote(part, safe="") for part in parts)


CONFIGMAPS = Resource("", "v1", "configmaps")
NODES = Resource("", "v1", "nodes")
LEASES = Resource("coordination.k8s.io", "v1", "leases")


class IKubeClient(Protocol):
    """The interface of `KubeClient`; `superedge.testing` implements it without a network."""

    async def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
    ) -> bytes:
        """The body of a successful response. Raises APIError, Unavailable."""

    async def watch(
        self, path: str, query: Mapping[str, str], seconds: int, on_event: Callable[[WatchEvent], None]
    ) -> None:
        """Pass each event to ``on_event`` until the watch ends normally. Raises APIError, Unavailable."""


class _TimedOut(Unavailable):
    """No response in time. Not retried, because a second try would wait as long again."""


class _Receiver:
    """Receives the response to a request."""

    def __init__(self) -> None:
        self.done: Deferred[bytes] = Deferred()
        self.started = False
        self._status = 0
        self._chunks: list[bytes] = []
        self._size = 0
        self._complete = False

    def response(self, head: ResponseHead) -> None:
        self.started = True
        self._status = head.status

    def data(self, chunks: list[bytes]) -> None:
        self._size += sum(map(len, chunks))
        if self._size > MAX_BODY:
            self._fail(Unavailable(f"the response exceeds {MAX_BODY} bytes"))
        else:
            self._chunks += chunks

    def complete(self, trailers: Headers) -> None:
        self._complete = True

    def read_complete(self) -> None:
        # Not earlier: only now is the connection back in its pool, for the caller's next request.
        if not self._complete or self.done.called:
            return
        body = b"".join(self._chunks)
        if 200 <= self._status < 300:
            self.done.callback(body)
        else:
            self._fail(api_error(self._status, body))

    def switched(self, connection: SwitchedConnection, rest: bytes) -> None:
        connection.transport.abortConnection()
        self._fail(Unavailable("the API server switched protocols without a request to do so"))

    def failed(self, reason: str) -> None:
        self._fail(Unavailable(reason))

    def _fail(self, problem: Exception) -> None:
        if not self.done.called:
            self.done.errback(Failure(problem))


class _ConfirmedReceiver(_Receiver):
    """Receives the response to a read that must not be answered from a cache."""

    def response(self, head: ResponseHead) -> None:
        super().response(head)
        warning = next((value for name, value in head.headers if name.lower() == b"warning"), None)
        if warning is not None:
            self._fail(Unavailable(f"the API server did not answer itself: {warning.decode('latin-1')}"))


class _WatchReceiver(_Receiver):
    """Receives the response to a watch."""

    def __init__(self, on_event: Callable[[WatchEvent], None]) -> None:
        super().__init__()
        self._on_event = on_event
        self._splitter = _codec.splitter()

    def data(self, chunks: list[bytes]) -> None:
        if self._status != 200:
            super().data(chunks)
            return
        try:
            for frame in self._splitter.feed(b"".join(chunks)):
                if not self.done.called:
                    self._event(_codec.decode_event(frame))
        except Exception as problem:
            self._fail(problem)
        if self._splitter.pending > MAX_BODY:
            self._fail(Unavailable(f"a watch event exceeds {MAX_BODY} bytes"))

    def _event(self, event: WatchEvent) -> None:
        if event.type == "ERROR":
            self._fail(api_error(event.code, event.item.raw))
        else:
            self._on_event(event)


class KubeClient:
    """Sends requests to one API server over pooled connections."""

    def __init__(self, reactor: IReactor, access: Access, timeout: float = 10.0) -> None:
        """``timeout``: seconds for a request other than a watch."""
        self._reactor = reactor
        self._access = access
        self._timeout = timeout
        self._host = str(access.server).encode()
        servers = Servers([access.server], round_robin=False)
        self._pool = Pool(reactor, servers, access.tls, access.server_name, timeout)

    async def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
    ) -> bytes:
        """The body of a successful response. Raises APIError, Unavailable.

        Retries a read when its pooled connection was closed before the response.
        """
        raw = b"" if body is None else msgspec.json.encode(body)
        head = self._head(method, path, query, raw, content_type)
        return await self._call(method, head, raw, _Receiver)

    async def read_confirmed(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """The body of a read that the API server itself answered, as `call`.

        Raises Unavailable when the response has a header Warning, as lite-apiserver's from its cache have
        (RFC 7234 section 5.5).
        """
        head = self._head("GET", path, query, b"", "")
        return await self._call("GET", head, b"", _ConfirmedReceiver)

    async def _call(
        self, method: str, head: bytes, raw: bytes, make_receiver: Callable[[], _Receiver]
    ) -> bytes:
        receiver = make_receiver()
        self._pool.close_idle(self._reactor.seconds() - IDLE_TIMEOUT)
        idle = self._pool.take_idle(proven=method != "GET")
        if idle is not None:
            try:
                return await self._within(self._timeout, self._exchange(idle, head, raw, receiver))
            except Unavailable as problem:
                self._pool.close_idle()  # the others may be dead for the same reason
                if method != "GET" or receiver.started or isinstance(problem, _TimedOut):
                    raise
                receiver = make_receiver()
        return await self._within(self._timeout, self._on_new_connection(head, raw, receiver))

    async def watch(
        self, path: str, query: Mapping[str, str], seconds: int, on_event: Callable[[WatchEvent], None]
    ) -> None:
        """Pass each event to ``on_event`` until the watch ends normally, after ``seconds`` at most.

        Raises APIError (410 when the resourceVersion is too old), Unavailable, and what ``on_event`` raises.
        """
        asked = {**query, "watch": "true", "timeoutSeconds": str(seconds)}
        head = self._head("GET", path, asked, b"", "")
        await self._within(
            seconds + WATCH_GRACE, self._on_new_connection(head, b"", _WatchReceiver(on_event))
        )

    def close(self) -> None:
        """Abort every connection."""
        self._pool.abort()

    def _head(
        self, method: str, path: str, query: Mapping[str, str] | None, body: bytes, content_type: str
    ) -> bytes:
        headers = [
            (b"Host", self._host),
            (b"Accept", b"application/json"),
            (b"User-Agent", f"superedge/{__version__}".encode()),
        ]
        if self._access.token is not None:
            try:
                token = self._access.token.current()
            except IdentityError as problem:
                raise Unavailable(str(problem)) from problem
            headers.append((b"Authorization", f"Bearer {token}".encode()))
        if body or method in ("POST", "PUT", "PATCH"):
            headers += [(b"Content-Type", content_type.encode()), (b"Content-Length", b"%d" % len(body))]
        target = self._access.prefix + path + (f"?{urlencode(query)}" if query else "")
        return request_head(method.encode(), target.encode(), headers)

    async def _on_new_connection(self, head: bytes, body: bytes, receiver: _Receiver) -> bytes:
        try:
            connection = await self._pool.connect()
        except ConnectError as problem:
            raise Unavailable(str(problem)) from problem
        return await self._exchange(connection, head, body, receiver)

    async def _exchange(
        self, connection: H1Connection, head: bytes, body: bytes, receiver: _Receiver
    ) -> bytes:
        connection.request(head + body, False, True, receiver)
        try:
            return await receiver.done
        except APIError:
            raise  # the response was complete: the connection can be reused
        except BaseException:
            connection.abandon()
            raise

    async def _within(self, seconds: float, exchange: Any) -> bytes:
        attempt: Deferred[bytes] = Deferred.fromCoroutine(exchange)
        attempt.addTimeout(seconds, self._reactor)
        try:
            return await attempt
        except TimeoutError as problem:
            raise _TimedOut(f"{self._access.server} did not answer within {seconds:g} s") from problem


class _Status(msgspec.Struct):
    message: str = ""
    reason: str = ""


def api_error(code: int, body: bytes) -> APIError:
    """The error in a response with a status other than 2xx, or in an ERROR event."""
    try:
        status = msgspec.json.decode(body, type=_Status)
    except JSON_FAULTS:
        status = _Status(body[:200].decode("utf-8", "replace"))
    return APIError(code, status.reason, status.message or f"status {code}")


Problems: tuple[type[SuperEdgeError], ...] = (APIError, Unavailable, DecodeError)
"""Errors after which a request may be retried."""
