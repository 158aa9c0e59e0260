"""Response filters: plugins that see decoded objects of chosen resources, and change or hide them.

A filtered resource is asked for as JSON without compression; the cache keeps what the API server sent, so
that filters see it online and offline alike. resourceVersions stay true.
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
"""The answer in the place of one that a filter choked on."""

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
    """Nothing is known from before what the cache has."""


def _name(item: Object) -> tuple[str, str]:
    meta = item.get("metadata") or {}
    return meta.get("namespace", ""), meta.get("name", "")


class Filters:
    """The filters in use, by the resources that they want to see."""

    def __init__(self, filters: Sequence[IResponseFilter], max_body: int = MAX_BODY) -> None:
        """``max_body`` is the bytes of the longest answer that is filtered."""
        self.max_body = max_body
        self._by_resource: dict[tuple[str, str], list[IResponseFilter]] = {}
        self.active = bool(filters)
        """Whether there is any filter at all."""
        for each in filters:
            for resource in each.resources():
                self._by_resource.setdefault(resource, []).append(each)

    def covers(self, request: RequestInfo) -> bool:
        """Whether the answer to a read is to be shown to a filter."""
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
        """An answer of the cache, filtered; a filter that fails makes it 500."""
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


def takes_plain(request: RequestInfo) -> bool:
    """Whether a client takes objects as plain JSON, the one form that filters see."""
    return PLAIN in accepted(request.accept)


def not_acceptable(request: RequestInfo) -> Answer:
    """The answer to a client that takes no plain JSON: what it asks for would pass the filters by."""
    message = (
        f"{qualified(request.group, request.resource)} are filtered on this node and come as {JSON} alone, "
        "which the request does not accept"
    )
    return failure(406, message, "NotAcceptable", outcome="refused")


def hidden(request: RequestInfo) -> Answer:
    """The answer for an object that a filter hides."""
    headers: Headers = [(b"Content-Type", JSON.encode())]
    return Answer(404, headers, not_found(request.group, request.resource, request.name), "hit")


class WatchFilter:
    """One watch: an object that becomes hidden is deleted for the client, one never shown never was.

    The client is told the whole object, as an API server tells it of one that leaves a selector: as it was
    shown last, at the version at which it became hidden. Clients undo by its fields what they made of it.
    """

    def __init__(
        self,
        filters: Filters,
        request: RequestInfo,
        known: Callable[[Name], bytes | None],
        replayed: bool = False,
    ) -> None:
        """``known`` gives an object as it was before the events; where it has none, the client is told the
        object as it is. ``replayed`` when events come from the cache, where whatever changed is ADDED.
        """
        self._filters = filters
        self._request = request
        self._known = known
        self._splitter = LineSplitter()
        self._shown: set[tuple[str, str]] = set()
        self._hidden: set[tuple[str, str]] = set()
        self._recent: dict[tuple[str, str], Object] = {}
        """What was shown in these pieces, which ``known`` does not know yet."""
        # What a client that goes on from a version may have been shown before.
        self._old: tuple[str, ...] = ()
        if request.query.get("resourceVersion", "") not in ("", "0") and not request.flag(
            "sendInitialEvents"
        ):
            self._old = ("ADDED", "MODIFIED", "DELETED") if replayed else ("MODIFIED", "DELETED")

    def feed(self, pieces: list[bytes]) -> list[bytes]:
        """The events that the pieces complete, as the client is to see them. Raises DecodeError."""
        self._recent.clear()
        lines = [line for piece in pieces for line in self._splitter.feed(piece)]
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
