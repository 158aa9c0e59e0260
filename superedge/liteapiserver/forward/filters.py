"""Response filters: plugins that change or hide objects of chosen resources.

The cache keeps what the API server sent, so that a filter sees the same objects online and offline. Filters
keep resourceVersions as they are. A filtered resource is requested without compression, and as JSON unless
all its filters read protobuf, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import cast

import msgspec
from twisted.logger import Logger

from superedge.interfaces import IEncodedResponseFilter, IFollowingFilter, IResponseFilter
from superedge.kube.errors import DecodeError
from superedge.kube.json import decode
from superedge.kube.media import JSON, PROTOBUF, Representation, accepted, parse_media_type
from superedge.kube.objects import Item, version_number
from superedge.kube.request import RequestInfo, qualified
from superedge.kube.status import not_found, status_body
from superedge.liteapiserver.cache.answers import Answer, WatchAnswer, failure
from superedge.liteapiserver.cache.recorders import PendingBytes
from superedge.liteapiserver.cache.scopes import Name
from superedge.liteapiserver.forward.bodies import filter_list, filter_object
from superedge.liteapiserver.forward.resumption import Resumption
from superedge.liteapiserver.forward.watchfilter import KnownObjects, WatchFilter
from superedge.web.heads import Headers

FAILED = status_body(500, "a response filter of this node failed; its log has the reason")
"""The body of the 500 that replaces a response on which a filter failed."""

MAX_BODY = 64 * 1024 * 1024
MAX_REMEMBERED = 16 * 1024 * 1024
"""Bytes of objects whose filtered form is remembered, of each resource."""

PLAIN = Representation(JSON)
_FILTERED = (PLAIN, Representation(PROTOBUF))

_log = Logger()
_encode = msgspec.json.encode


class ResourceFilters:
    """The filters of one resource, in their order."""

    def __init__(self, group: str, resource: str) -> None:
        self._group = group
        self._resource = resource
        self._filters: list[tuple[IResponseFilter, bool]] = []
        self.encoded = True
        """Whether all read encoded objects, and therefore hide nothing."""
        self.follows = False
        """Whether one of them follows other objects."""
        self.known = {each.media_type: KnownObjects() for each in _FILTERED}
        """What watches have shown last, by media type."""
        self._remembered: dict[bytes, bytes] = {}
        self._size = 0

    def add(self, each: IResponseFilter) -> None:
        """Add a filter behind the others."""
        encoded = IEncodedResponseFilter.providedBy(each)
        self._filters.append((each, encoded))
        self.encoded = self.encoded and encoded
        self.follows = self.follows or IFollowingFilter.providedBy(each)

    def apply(self, media_type: str, raw: bytes) -> bytes | None:
        """Filter an encoded object; None when it is hidden. Raises DecodeError, and what filters raise."""
        for each, encoded in self._filters:
            if encoded:
                raw = cast(IEncodedResponseFilter, each).filter_encoded(
                    self._group, self._resource, media_type, raw
                )
                continue
            shown = each.filter(self._group, self._resource, decode(dict, raw))
            if shown is None:
                return None
            raw = _encode(shown)
        return raw

    def apply_again(self, media_type: str, raw: bytes) -> bytes | None:
        """As `apply`, for objects that are likely to come again, as those of lists do."""
        if not (self.encoded and self.follows):
            return self.apply(media_type, raw)
        shown = self._remembered.get(raw)
        if shown is None:
            shown = self.apply(media_type, raw)
            assert shown is not None  # these filters hide nothing
            self._size += len(raw) + len(shown)
            if self._size > MAX_REMEMBERED:
                self.forget()
            self._remembered[raw] = shown
        return raw if shown == raw else shown

    def forget(self) -> None:
        """What filters follow changed: nothing is as it was."""
        self._remembered.clear()
        self._size = 0


class Filters:
    """The filters in use, by the resources that they filter."""

    def __init__(self, filters: Sequence[IResponseFilter], max_body: int = MAX_BODY) -> None:
        """``max_body`` is the length of the longest response that is filtered, bytes."""
        self.max_body = max_body
        self.collected = PendingBytes(max_body)
        """Bytes of the responses that are collected to be filtered."""
        self.following = [each for each in filters if IFollowingFilter.providedBy(each)]
        """The filters that follow other objects."""
        self._by_resource: dict[tuple[str, str], ResourceFilters] = {}
        self.active = bool(filters)
        """Whether any filter is configured."""
        self.resumption = Resumption()
        for each in filters:
            for resource in each.resources():
                self._by_resource.setdefault(resource, ResourceFilters(*resource)).add(each)

    def of(self, request: RequestInfo) -> ResourceFilters | None:
        """The filters of the objects in the response to a request; None when there are none."""
        found = self._by_resource.get((request.group, request.resource))
        is_read = request.is_read and not request.subresource and request.method == "GET"
        return found if is_read else None

    def forms(self, request: RequestInfo) -> list[Representation]:
        """The representations to ask for a resource that has filters: what the client accepts, in its order.

        Either one with a ``kind``, a Table or metadata alone, which passes unfiltered, or such as are
        filtered; empty when the client accepts neither.
        """
        found = self.of(request)
        assert found is not None
        known = [each for each in accepted(request.accept) if each == PLAIN or found.encoded]
        if known and known[0].kind:
            return [each for each in known if each.kind]
        return [each for each in known if each in _FILTERED]

    def covers(self, request: RequestInfo) -> bool:
        """Whether the response to a request is filtered; its Accept is the one that is sent to the cloud."""
        if not self.active or self.of(request) is None:
            return False
        forms = self.forms(request)
        return not forms or not forms[0].kind

    def changed(self, resource: tuple[str, str]) -> None:
        """The filters of a resource, group and name, show objects differently from now on."""
        self._by_resource[resource].forget()
        self.resumption.changed(resource)

    def follows(self, request: RequestInfo) -> bool:
        """Whether the filters of a request's objects follow other objects."""
        found = self.of(request)
        return found is not None and found.follows

    def body(self, request: RequestInfo, media_type: str, body: bytes) -> bytes | None:
        """The body of a get or a list, filtered; None when the object is hidden. Raises DecodeError."""
        found = self.of(request)
        assert found is not None
        apply = partial(found.apply_again, media_type)
        shown: bytes | None
        if request.verb == "get":
            shown, version = filter_object(media_type, body, apply)
        else:
            shown, version = filter_list(media_type, body, apply)
        if found.follows:
            self.resumption.shown((request.group, request.resource), version_number(version))
        return shown

    def watch(
        self,
        request: RequestInfo,
        media_type: str,
        base: Mapping[Name, Item] | None = None,
        replayed: bool = False,
    ) -> WatchFilter:
        """The filter of one watch; the arguments are those of `WatchFilter`."""
        found = self.of(request)
        assert found is not None
        resource = (request.group, request.resource)
        number = version_number(request.query.get("resourceVersion", ""))
        return WatchFilter(
            partial(found.apply, media_type),
            media_type,
            request,
            base or {},
            found.known[media_type],
            missed=found.follows and not self.resumption.is_current(resource, number),
            remembers=found.follows or not found.encoded,
            replayed=replayed,
            shown=partial(self.resumption.shown, resource) if found.follows else None,
            max_event=self.max_body,
        )

    def answer(
        self, request: RequestInfo, answer: Answer | WatchAnswer, base: Mapping[Name, Item] | None = None
    ) -> Answer | WatchAnswer:
        """An answer of the cache, filtered; 500 if a filter fails. ``base`` is for a watch."""
        try:
            return self._answer(request, answer, base)
        except Exception:
            _log.failure("a response filter failed on {path}", path=request.path)
            return Answer(500, [(b"Content-Type", JSON.encode())], FAILED, "refused")

    def _answer(
        self, request: RequestInfo, answer: Answer | WatchAnswer, base: Mapping[Name, Item] | None
    ) -> Answer | WatchAnswer:
        if isinstance(answer, WatchAnswer):
            watch = self.watch(request, media_type_of(answer.headers), base, replayed=True)
            answer.frames = [*watch.begin(), *watch.feed(answer.frames)]
        elif answer.status == 200:
            body = self.body(request, media_type_of(answer.headers), answer.body)
            if body is None:
                return hidden(request)
            answer.body = body
        return answer


def media_type_of(headers: Headers) -> str:
    """The media type of a response that is to be filtered. Raises DecodeError."""
    label = next((value for name, value in headers if name.lower() == b"content-type"), b"")
    found = parse_media_type(label.decode("latin-1")).media_type
    if found not in (JSON, PROTOBUF):
        raise DecodeError(f"its media type is {found!r}")
    return found


def not_acceptable(request: RequestInfo) -> Answer:
    """406 for a client that accepts no form that is filtered: any other would bypass the filters."""
    what = qualified(request.group, request.resource)
    message = f"{what} are filtered on this node and served only as {JSON}, which the request does not accept"
    return failure(406, message, "NotAcceptable", outcome="refused")


def unfiltered(request: RequestInfo, missing: str) -> Answer:
    """503 while a filter does not know what its result depends on; ``missing`` says what."""
    what = qualified(request.group, request.resource)
    return failure(503, f"{what} cannot be filtered on this node yet: {missing}")


def hidden(request: RequestInfo) -> Answer:
    """404 for an object that a filter hides."""
    headers: Headers = [(b"Content-Type", JSON.encode())]
    return Answer(404, headers, not_found(request.group, request.resource, request.name), "hit")
