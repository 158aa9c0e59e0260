"""Response filters: plugins that see decoded objects of chosen resources, and change or hide them.

A filtered resource is asked for as JSON without compression; the cache keeps what the API server sent, so
that filters see it online and offline alike. resourceVersions stay true.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from superedge.web.heads import Headers

Object = dict[str, Any]

FAILED = status_body(500, "a response filter of this node failed; its log has the reason")
"""The answer in the place of one that a filter choked on."""

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


def _name(item: Object) -> tuple[str, str]:
    meta = item.get("metadata") or {}
    return meta.get("namespace", ""), meta.get("name", "")


class Filters:
    """The filters in use, by the resources that they want to see."""

    def __init__(self, filters: Sequence[IResponseFilter]) -> None:
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
            answer.frames = WatchFilter(self, request, replayed=True).feed(answer.frames)
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


def _bare(item: Object) -> Object:
    """What tells a client which object is meant, and no more of it."""
    meta = item.get("metadata") or {}
    kept = {key: meta[key] for key in ("name", "namespace", "uid", "resourceVersion") if key in meta}
    return {"kind": item.get("kind", ""), "apiVersion": item.get("apiVersion", ""), "metadata": kept}


class WatchFilter:
    """One watch: an object that becomes hidden is deleted for the client, one never shown never was."""

    def __init__(self, filters: Filters, request: RequestInfo, replayed: bool = False) -> None:
        """``replayed`` when events come from the cache, where whatever changed is ADDED."""
        self._filters = filters
        self._request = request
        self._splitter = LineSplitter()
        self._shown: set[tuple[str, str]] = set()
        self._hidden: set[tuple[str, str]] = set()
        # What a client that goes on from a version may have been shown before.
        self._old: tuple[str, ...] = ()
        if request.query.get("resourceVersion", "") not in ("", "0") and not request.flag(
            "sendInitialEvents"
        ):
            self._old = ("ADDED", "MODIFIED", "DELETED") if replayed else ("MODIFIED", "DELETED")

    def feed(self, pieces: list[bytes]) -> list[bytes]:
        """The events that the pieces complete, as the client is to see them. Raises DecodeError."""
        lines = [line for piece in pieces for line in self._splitter.feed(piece)]
        return [event for event in map(self._event, lines) if event]

    def _event(self, line: bytes) -> bytes:
        event = _decode(line)
        if event["type"] not in ("ADDED", "MODIFIED", "DELETED"):
            return line + b"\n"
        before: Object = event["object"]
        name, bare = _name(before), _bare(before)
        item = self._filters._filter(self._request, before)
        if item is not None and event["type"] != "DELETED":
            self._shown.add(name)
            self._hidden.discard(name)
            event["object"] = item
        elif item is not None:
            self._shown.discard(name)
            event["object"] = item
        elif name in self._shown or (event["type"] in self._old and name not in self._hidden):
            self._shown.discard(name)
            self._hidden.add(name)
            event["type"], event["object"] = "DELETED", bare
        else:
            self._hidden.add(name)
            return b""
        return _encode(event) + b"\n"
