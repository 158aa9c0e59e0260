"""Filters a response of the cloud on its way to the client: both classes take the place of its Request."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from twisted.logger import Logger

from superedge.kube.errors import DecodeError
from superedge.kube.objects import Item
from superedge.kube.request import RequestInfo
from superedge.liteapiserver.cache.answers import Answer, failure
from superedge.liteapiserver.cache.scopes import Name
from superedge.liteapiserver.forward.filters import FAILED, Filters, hidden, media_type_of
from superedge.liteapiserver.forward.watchfilter import WatchFilter
from superedge.web.heads import Headers
from superedge.web.serverrequest import Request

_log = Logger()


class FilteredBody:
    """Collects the response to a get or a list, and filters it when it is whole."""

    def __init__(
        self, request: Request, filters: Filters, info: RequestInfo, identity: str, failed: Callable[[], None]
    ) -> None:
        """``failed`` is called when the response cannot be collected; the client then has a 500 or 429.

        All that is collected for one ``identity`` has the limit that each response has.
        """
        self._identity = identity
        self._failed = failed
        self._size = 0
        self._request = request
        self._filters = filters
        self._info = info
        self._headers: Headers = []
        self._chunks: list[bytes] = []

    def start(self, status: int, reason: bytes, headers: Headers, bounded: bool) -> None:
        """Begin the response, which is a 200."""
        self._headers = [pair for pair in headers if pair[0].lower() != b"content-length"]

    def write(self, chunks: list[bytes]) -> None:
        """Add to the body."""
        if self._request.finished:
            return
        self._chunks += chunks
        added = sum(map(len, chunks))
        self._size += added
        within = self._filters.collected.add(self._identity, added)
        if self._size > self._filters.max_body:
            message = (
                f"this node filters no response of more than {self._filters.max_body} bytes: "
                "ask for pages with limit"
            )
            self._refuse(failure(500, message))
        elif not within:
            answer = failure(429, "too many long responses to this identity are filtered at the same time")
            answer.headers.append((b"Retry-After", b"1"))
            self._refuse(answer)

    def _refuse(self, answer: Answer) -> None:
        self._chunks.clear()
        self._request.respond(answer.status, answer.headers, answer.body)
        self._failed()

    def release(self) -> None:
        """The response is whole, or given up."""
        self._filters.collected.add(self._identity, -self._size)
        self._size = 0

    def flush(self) -> None:
        """Send nothing before the end."""

    def finish(self, trailers: Headers | None = None) -> None:
        """Filter and send."""
        try:
            media_type = media_type_of(self._headers)
            body = self._filters.body(self._info, media_type, b"".join(self._chunks))
        except DecodeError as problem:
            _log.warn(
                "the response to {path} cannot be filtered: {problem}", path=self._info.path, problem=problem
            )
            answer = failure(502, f"the API server's response cannot be filtered: {problem}")
            self._request.respond(answer.status, answer.headers, answer.body)
            return
        except Exception:
            _log.failure("a response filter failed on {path}", path=self._info.path)
            self._request.respond(500, [(b"Content-Type", b"application/json")], FAILED)
            return
        if body is None:
            answer = hidden(self._info)
            self._request.respond(answer.status, answer.headers, answer.body)
        else:
            self._request.respond(200, self._headers, body)


class FilteredWatch:
    """Filters the events of a watch."""

    def __init__(
        self,
        request: Request,
        filters: Filters,
        info: RequestInfo,
        base: Mapping[Name, Item] | None,
        failed: Callable[[], None],
    ) -> None:
        """``base`` is for `WatchFilter`; ``failed`` is called when a filter fails, which ends the watch."""
        self._request = request
        self._path = info.path
        self.resource = (info.group, info.resource)
        """Group and name."""
        self._filters = filters
        self._info = info
        self._base = base
        self._filter: WatchFilter | None = None
        self._failed = failed
        self.flush = request.flush
        self.finish = request.finish

    def start(self, status: int, reason: bytes, headers: Headers, bounded: bool) -> None:
        """Begin the response with what the client may have missed."""
        self._request.start(status, reason, headers, bounded)
        self._write(partial(self._begin, headers))

    def _begin(self, headers: Headers) -> list[bytes]:
        base, self._base = self._base, None
        self._filter = self._filters.watch(self._info, media_type_of(headers), base)
        return self._filter.begin()

    def write(self, chunks: list[bytes]) -> None:
        """Add to the stream."""
        if self._filter is not None:
            self._write(partial(self._filter.feed, chunks))

    def changed(self) -> None:
        """Send what the filters show differently from now on."""
        if self._filter is not None:
            self._write(self._filter.changed)
            self._request.flush()

    def _write(self, make: Callable[[], list[bytes]]) -> None:
        try:
            self._request.write(make())
        except Exception as problem:
            if isinstance(problem, DecodeError):
                _log.warn(
                    "an event of {path} cannot be filtered: {problem}", path=self._path, problem=problem
                )
            else:
                _log.failure("a response filter failed on {path}", path=self._path)
            self._filter = None
            self._failed()
            self._request.abort()


def filtered_client(
    request: Request,
    filters: Filters,
    info: RequestInfo,
    identity: str,
    base: Mapping[Name, Item] | None,
    failed: Callable[[], None],
) -> FilteredBody | FilteredWatch:
    """What takes the response to a filtered request of an identity; ``base`` is for `WatchFilter`."""
    if info.verb == "watch":
        return FilteredWatch(request, filters, info, base, failed)
    return FilteredBody(request, filters, info, identity, failed)
