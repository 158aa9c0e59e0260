"""Follows the collections that response filters depend on.

They are read as prefetched paths are: listed and watched into the cache, so that they are known after a
restart without the cloud, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlencode

import msgspec
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from superedge.interfaces import Followed, IFollowingFilter
from superedge.kube.errors import JSON_FAULTS
from superedge.kube.media import JSON
from superedge.kube.objects import Item, version_number
from superedge.kube.request import qualified
from superedge.liteapiserver.cache.scopes import Name
from superedge.liteapiserver.upstream.prefetch import Prefetch, Target

FRESH_WITHIN = 3.0
"""Seconds that a response waits for what the cloud has now, when the cache has what it had."""
_METADATA = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

_log = Logger()


def _path(what: Followed) -> str:
    start = f"/apis/{what.group}/{what.version}" if what.group else f"/api/{what.version}"
    query = [("labelSelector", what.labels), ("fieldSelector", what.fields)]
    asked = urlencode([pair for pair in query if pair[1]])
    return f"{start}/{what.resource}?{asked}" if asked else f"{start}/{what.resource}"


class Follower(Target):
    """Keeps one filter informed of one collection."""

    def __init__(
        self,
        prefetch: Prefetch,
        identity: str,
        what: Followed,
        filter: IFollowingFilter,
        changed: Callable[[IFollowingFilter], None],
        refreshed: Callable[[], None],
    ) -> None:
        """``changed`` is called when the filter may show objects differently, ``refreshed`` when it was told
        everything that the cloud has.
        """
        accept = _METADATA if what.metadata_only else JSON
        super().__init__(prefetch, identity, _path(what), accept, refresh=0.0)
        self._what = what
        self._filter = filter
        self._notify = changed
        self._refreshed = refreshed
        self._versions: dict[Name, str] = {}
        self.known = False
        """Whether the filter was told of everything, as it is now or as the cache had it."""
        self.fresh = False
        """Whether that was read from the cloud since the start."""
        self.version = 0
        """The version of the last list, as a number."""
        self.relist = True  # only a list tells what the cloud has now

    @property
    def name(self) -> str:
        """The resource, for messages."""
        return qualified(self._what.group, self._what.resource)

    def restore(self) -> None:
        """Tell the filter what the cache has, if it has everything."""
        found = self.prefetch.cache.members(self.owner, self.request)
        if found is not None:
            self._take_all(found[1])

    def use(self) -> None:
        """Keep what the filter was told in the cache, for a restart without the cloud."""
        self.prefetch.cache.use(self.owner, self.request)

    def listed(self) -> None:
        self._take_all(self.prefetch.cache.observe(self.owner, self.request, self._take))
        self.version = version_number(self._resume_version())
        self.fresh = True
        self._refreshed()

    def _take_all(self, items: dict[Name, Item]) -> None:
        changes = [(name, None) for name in self._versions if name not in items]
        changed = False
        for name, item in [*changes, *items.items()]:
            changed = self._tell(name, item) or changed
        self.known = True
        if changed:
            self._notify(self._filter)

    def _take(self, name: Name, item: Item | None) -> None:
        if self._tell(name, item):
            self._notify(self._filter)

    def _tell(self, name: Name, item: Item | None) -> bool:
        """Tell the filter of an object unless it knows; whether it may show others differently."""
        if item is None:
            if self._versions.pop(name, None) is None:
                return False
        elif self._versions.get(name) == item.version:
            return False
        else:
            self._versions[name] = item.version
        try:
            decoded = None if item is None else cast(dict[str, Any], msgspec.json.decode(item.raw, type=dict))
            return self._filter.followed(self._what, *name, decoded)
        except JSON_FAULTS as problem:
            _log.error("{what} {name} is ignored: {problem}", what=self.name, name=name[1], problem=problem)
        except Exception:
            _log.failure("a response filter failed on {what} {name}", what=self.name, name=name[1])
        return False


class Following:
    """Everything that filters follow."""

    def __init__(self, reactor: IReactorTime, online: Callable[[], bool]) -> None:
        """``online`` says whether the cloud is reachable."""
        self._reactor = reactor
        self._online = online
        self._followers: list[Follower] = []
        self._waiting: list[Deferred[None]] = []

    def add(self, follower: Follower) -> None:
        """Follow one more collection."""
        self._followers.append(follower)

    def restore(self) -> None:
        """Start with what the cache has."""
        for follower in self._followers:
            follower.restore()

    def use(self) -> None:
        """Keep it in the cache; to be called often."""
        for follower in self._followers:
            follower.use()

    @property
    def fresh(self) -> bool:
        """Whether everything was read from the cloud since the start."""
        return all(follower.fresh for follower in self._followers)

    @property
    def version(self) -> int:
        """The latest version of what was listed, as a number."""
        return max((follower.version for follower in self._followers), default=0)

    def missing(self) -> str:
        """What is not known yet, with the reason; empty when everything is."""
        return "; ".join(
            f"{follower.name}, which a response filter follows as {follower.identity!r}: {follower.state}"
            for follower in self._followers
            if not follower.known
        )

    def wake(self) -> None:
        """Something that responses wait for may be there, or will not come."""
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    @property
    def _may_be_fresh_soon(self) -> bool:
        return not self.fresh and self._online() and not any(each.refused for each in self._followers)

    async def settle(self) -> None:
        """Wait until everything was read from the cloud, while that may be soon."""
        until = self._reactor.seconds() + FRESH_WITHIN
        while self._may_be_fresh_soon and (left := until - self._reactor.seconds()) > 0:
            waiter: Deferred[None] = Deferred()
            self._waiting.append(waiter)
            try:
                await waiter.addTimeout(left, self._reactor)
            except TimeoutError:
                self._waiting.remove(waiter)
                return
