"""What the filters of a request need before it is answered: what they follow, and what the client has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from superedge.interfaces import IFollowingFilter
from superedge.kube.objects import Item, version_number
from superedge.kube.request import RequestInfo
from superedge.liteapiserver.access.caller import Caller
from superedge.liteapiserver.cache.answers import Answer, WatchAnswer
from superedge.liteapiserver.cache.cache import Cache
from superedge.liteapiserver.cache.scopes import Name
from superedge.liteapiserver.forward.filters import Filters, unfiltered
from superedge.liteapiserver.upstream.base import list_base, resumes
from superedge.liteapiserver.upstream.following import Following

if TYPE_CHECKING:
    from superedge.liteapiserver.forward.incoming import IncomingRequest


MIN_DELAY = 0.02
"""Seconds from a change to when watches are told, at least."""
SHARE = 5
"""Telling takes at most 1/SHARE of the time."""
MAX_DELAY = 2.0


class Filtering:
    """Joins the filters, what they follow, and the cache."""

    def __init__(
        self, reactor: IReactorTime, filters: Filters, following: Following, cache: Cache, host: bytes
    ) -> None:
        """``host`` is the Host header for the cloud."""
        self._reactor = reactor
        self._changed: set[tuple[str, str]] = set()
        self._call: IDelayedCall | None = None
        self._delay = MIN_DELAY
        self.tell: Callable[[tuple[str, str]], None] = lambda _: None
        """Called with a resource, group and name, whose open watches are to be told what looks different."""
        self.filters = filters
        self.following = following
        self._cache = cache
        self._host = host

    def must_prepare(self, incoming: IncomingRequest) -> bool:
        """Whether `prepare` is to be called before a request is forwarded."""
        return incoming.filtered and self.filters.follows(incoming.info)

    def missing(self, info: RequestInfo) -> Answer | None:
        """503 while the filters of a request do not know what their result depends on."""
        missing = self.following.missing() if self.filters.follows(info) else ""
        return unfiltered(info, missing) if missing else None

    async def prepare(self, incoming: IncomingRequest, caller: Caller) -> Mapping[Name, Item] | None:
        """Wait for what the filters follow, and find the objects of a watch that the client continues."""
        await self.following.settle()
        info = incoming.info
        if not resumes(info):
            return None
        base = self._cached(info, caller)
        if base is None and not incoming.impersonation:
            base = await list_base(caller, info, self._host)
        return base

    def _cached(self, info: RequestInfo, caller: Caller) -> Mapping[Name, Item] | None:
        """The objects of a watch from a version, as the cache has them at this version or later."""
        found = self._cache.members(caller.identity, info) if caller.is_known else None
        if found is None or found[0] < version_number(info.query["resourceVersion"]):
            return None
        return found[1]

    def answer(self, info: RequestInfo, caller: Caller, answer: Answer | WatchAnswer) -> Answer | WatchAnswer:
        """An answer of the cache, filtered."""
        if not self.filters.covers(info):
            return answer
        missing = self.missing(info)
        if missing is not None:
            return missing
        return self.filters.answer(info, answer, self._cached(info, caller) if resumes(info) else None)

    def changed(self, each: IFollowingFilter) -> None:
        """A filter shows objects differently from now on: tell open watches soon, of many changes at once."""
        for resource in each.resources():
            self.filters.changed(resource)
            self._changed.add(resource)
        if self._call is None:
            self._call = self._reactor.callLater(self._delay, self._tell)

    def _tell(self) -> None:
        self._call = None
        changed, self._changed = self._changed, set()
        began = self._reactor.seconds()
        for resource in changed:
            # Also for clients that were shown something since the change, and leave before they are told.
            self.filters.resumption.changed(resource)
            self.tell(resource)
        self._delay = min(MAX_DELAY, max(MIN_DELAY, (self._reactor.seconds() - began) * SHARE))

    def stop(self) -> None:
        """Tell nobody any more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def refreshed(self) -> None:
        """What a filter follows was read from the cloud."""
        if self.following.fresh:
            for each in self.filters.following:
                for resource in each.resources():
                    self.filters.resumption.known(resource, self.following.version)
        self.following.wake()
