"""Response filters: plugins that change or hide decoded objects of chosen resources.

A filtered resource is requested as JSON without compression. The cache keeps what the API server sent, so
that a filter sees the same objects online and offline. Filters keep resourceVersions as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec
from twisted.logger import Logger

from superedge.interfaces import IResponseFilter
from superedge.kube.errors import JSON_FAULTS, DecodeError
from superedge.kube.json import LineSplitter
from superedge.kube.media import JSON, Representation, accepted
from superedge.kube.request import RequestInfo, qualified
from superedge.kube.status import not_found, status_body
from superedge.liteapiserver.cache.answers import Answer, WatchAnswer, failure
from superedge.liteapiserver.cache.scopes import Name
from superedge.web.heads import Headers

Object = dict[str, Any]

FAILED = status_body(500, "a response filter of this node failed; its log has the reason")
"""The body of the 500 that replaces a response on which a filter failed."""

MAX_BODY = 64 * 1024 * 1024

PLAIN = Representation(JSON)

_log = Logger()
_encode = msgspec.json.encode


def _decode(content: bytes) -> Object:
    """An object of any kind. Raises DecodeError."""
    try:
        found = msgspec.json.decode(content, type=dict)
    except JSON_FAULTS as problem:
        raise DecodeError(f"not an object in JSON: {problem}") from problem
    return cast(Object, found)


def _unknown(_name: Name) -> None:
    """No object is known from before a replay of the cache."""


def _name(item: Object) -> tuple[str, str]:
    meta = item.get("metadata") or {}
    return meta.get("namespace", ""), meta.get("name", "")


class Filters:
    """The filters in use, by the resources that they filter."""

    def __init__(self, filters: Sequence[IResponseFilter], max_body: int = MAX_BODY) -> None:
        """``max_body`` is the length of the longest response that is filtered, bytes."""
        self.max_body = max_body
        self._by_resource: dict[tuple[str, str], list[IResponseFilter]] = {}
        self.active = bool(filters)
        """Whether any filter is configured."""
        for each in filters:
            for resource in each.resources():
                self._by_resource.setdefault(resource, []).append(each)

    def covers(self, request: RequestInfo) -> bool:
        """Whether the response to a request is filtered."""
        return (
            self.active
            and (request.group, request.resource) in self._by_resource
            and request.is_read
            and not request.subresource
            and request.method == "GET"
        )

    def _filter(self, request: RequestInfo, item: Object) -> Object | None:
        result: Object | None = item
        for each in self._by_resource[request.group, request.resource]:
            if result is None:
                return None
            result = each.filter(request.group, request.resource, result)
        return result

    def body(self, request: RequestInfo, body: bytes) -> bytes | None:
        """The body of a get or a list, filtered; None when the object is hidden. Raises DecodeError."""
        content = _decode(body)
        if request.verb == "get":
            item = self._filter(request, content)
            return None if item is None else _encode(item)
        items = [self._filter(request, item) for item in content.get("items") or ()]
        content["items"] = [item for item in items if item is not None]
        return _encode(content)

    def answer(self, request: RequestInfo, answer: Answer | WatchAnswer) -> Answer | WatchAnswer:
        """An answer of the cache, filtered; 500 if a filter fails."""
        try:
            return self._answer(request, answer)
        except Exception:
            _log.failure("a response filter failed on {path}", path=request.path)
            return Answer(500, [(b"Content-Type", JSON.encode())], FAILED, "refused")

    def _answer(self, request: RequestInfo, answer: Answer | WatchAnswer) -> Answer | WatchAnswer:
        if isinstance(answer, WatchAnswer):
            answer.frames = WatchFilter(self, request, _unknown, replayed=True).feed(answer.frames)
        elif answer.status == 200:
            body = self.body(request, answer.body)
            if body is None:
                return hidden(request)
            answer.body = body
        return answer


def accepts_json(request: RequestInfo) -> bool:
    """Whether a client accepts plain JSON, the only form that filters read."""
    return PLAIN in accepted(request.accept)


def not_acceptable(request: RequestInfo) -> Answer:
    """406 for a client that does not accept plain JSON: any other form would bypass the filters."""
    what = qualified(request.group, request.resource)
    message = f"{what} are filtered on this node and served only as {JSON}, which the request does not accept"
    return failure(406, message, "NotAcceptable", outcome="refused")


def hidden(request: RequestInfo) -> Answer:
    """404 for an object that a filter hides."""
    headers: Headers = [(b"Content-Type", JSON.encode())]
    return Answer(404, headers, not_found(request.group, request.resource, request.name), "hit")


class WatchFilter:
    """Filters one watch: an object that becomes hidden is shown as deleted, one never shown is left out.

    The DELETED event carries the whole object as it was shown last, at the version at which it became hidden,
    as an API server does for an object that leaves a selector. Clients need its fields to undo what they
    derived.
    """

    def __init__(
        self,
        filters: Filters,
        request: RequestInfo,
        known: Callable[[Name], bytes | None],
        replayed: bool = False,
    ) -> None:
        """``known`` gives an object as it was before the events, or None: then the event's own object is
        shown. ``replayed`` says that the events come from the cache, which sends every change as ADDED.
        """
        self._filters = filters
        self._request = request
        self._known = known
        self._splitter = LineSplitter()
        self._shown: set[tuple[str, str]] = set()
        self._hidden: set[tuple[str, str]] = set()
        self._recent: dict[tuple[str, str], Object] = {}
        """Objects shown in the chunks being filtered, which ``known`` does not have yet."""
        # The events whose objects a client that resumes from a version may have seen before.
        self._old: tuple[str, ...] = ()
        if request.query.get("resourceVersion", "") not in ("", "0") and not request.flag(
            "sendInitialEvents"
        ):
            self._old = ("ADDED", "MODIFIED", "DELETED") if replayed else ("MODIFIED", "DELETED")

    def feed(self, chunks: list[bytes]) -> list[bytes]:
        """The events that the chunks complete, filtered. Raises DecodeError."""
        self._recent.clear()
        lines = [line for chunk in chunks for line in self._splitter.feed(chunk)]
        if self._splitter.pending > self._filters.max_body:
            raise DecodeError(f"an event of more than {self._filters.max_body} bytes")
        return [event for event in map(self._event, lines) if event]

    def _event(self, line: bytes) -> bytes:
        event = _decode(line)
        if event["type"] not in ("ADDED", "MODIFIED", "DELETED"):
            return line + b"\n"
        before: Object = event["object"]
        name = _name(before)
        ended = event["type"] == "DELETED"
        item = self._filters._filter(self._request, before)
        if item is not None and not ended:
            self._shown.add(name)
            self._hidden.discard(name)
            event["object"] = self._recent[name] = item
        elif item is not None:
            self._shown.discard(name)
            event["object"] = item
        elif name in self._shown or (event["type"] in self._old and name not in self._hidden):
            self._hide(name, ended)
            event["type"], event["object"] = "DELETED", self._last(name, line)
        else:
            self._hide(name, ended)
            return b""
        return _encode(event) + b"\n"

    def _hide(self, name: Name, ended: bool) -> None:
        self._shown.discard(name)
        if ended:
            self._hidden.discard(name)
        else:
            self._hidden.add(name)

    def _last(self, name: Name, line: bytes) -> Object:
        """An object as it was shown last, at the version of the event in ``line``."""
        now: Object = _decode(line)["object"]
        last = self._recent.pop(name, None)
        if last is None and (known := self._known(name)) is not None:
            last = self._filters._filter(self._request, _decode(known))
        if last is None:
            return now
        last.setdefault("metadata", {})["resourceVersion"] = now["metadata"].get("resourceVersion", "")
        return last
