"""Filters a response of the cloud on its way to the client: both classes take the place of its Request."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from superedge.kube.errors import DecodeError
from superedge.kube.request import RequestInfo
from superedge.liteapiserver.cache.answers import failure
from superedge.liteapiserver.cache.scopes import Name
from superedge.liteapiserver.forward.filters import FAILED, Filters, WatchFilter, hidden
from superedge.web.heads import Headers
from superedge.web.serverrequest import Request

_log = Logger()


class FilteredBody:
    """Collects the response to a get or a list, and filters it when it is whole."""

    def __init__(
        self, request: Request, filters: Filters, info: RequestInfo, failed: Callable[[], None]
    ) -> None:
        """``failed`` is called when the response is too long to be filtered; the client then has a 500."""
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
        self._size += sum(map(len, chunks))
        if self._size > self._filters.max_body:
            self._chunks.clear()
            message = (
                f"this node filters no response of more than {self._filters.max_body} bytes: "
                "ask for pages with limit"
            )
            answer = failure(500, message)
            self._request.respond(answer.status, answer.headers, answer.body)
            self._failed()

    def flush(self) -> None:
        """Send nothing before the end."""

    def finish(self, trailers: Headers | None = None) -> None:
        """Filter and send."""
        try:
            body = self._filters.body(self._info, b"".join(self._chunks))
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
        known: Callable[[Name], bytes | None],
        failed: Callable[[], None],
    ) -> None:
        """``known`` is for `WatchFilter`; ``failed`` is called when a filter fails, which ends the watch."""
        self._request = request
        self._path = info.path
        self._filter = WatchFilter(filters, info, known)
        self._failed = failed
        self.start = request.start
        self.flush = request.flush
        self.finish = request.finish

    def write(self, chunks: list[bytes]) -> None:
        """Add to the stream."""
        try:
            self._request.write(self._filter.feed(chunks))
        except Exception as problem:
            if isinstance(problem, DecodeError):
                _log.warn(
                    "an event of {path} cannot be filtered: {problem}", path=self._path, problem=problem
                )
            else:
                _log.failure("a response filter failed on {path}", path=self._path)
            self._failed()
            self._request.abort()


def filtered_client(
    request: Request,
    filters: Filters,
    info: RequestInfo,
    known: Callable[[Name], bytes | None],
    failed: Callable[[], None],
) -> FilteredBody | FilteredWatch:
    """What takes the response to a filtered request; ``known`` is for `WatchFilter`, ``failed`` for both."""
    if info.verb == "watch":
        return FilteredWatch(request, filters, info, known, failed)
    return FilteredBody(request, filters, info, failed)
