"""Detects clients whose resourceVersion is beyond the history of a cluster that was restored from a backup.

The API server accepts a watch from such a version and stays silent until it reaches the version, so the
client misses the events until then. A list at such a version waits, and client-go repeats it ten times.
Therefore, after each return of the cloud, the first request of a resource that names a version waits for a
small list, which shows where the history ends. A client beyond the end gets an error that makes it list
again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import quote, urlencode

from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from superedge.kube.errors import DecodeError
from superedge.kube.json import JSONCodec
from superedge.kube.objects import version_number
from superedge.kube.request import RequestInfo, qualified
from superedge.liteapiserver.access.caller import Caller
from superedge.liteapiserver.upstream.fetch import FetchError, fetch_body
from superedge.net.errors import ConnectError

TIMEOUT = 15.0
"""Seconds that a request waits; then it is forwarded unchecked."""
_ACCEPT = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"

_codec = JSONCodec()
_log = Logger()

Resource = tuple[str, str]
"""Group and name."""
_CheckKey = tuple[str, str, str]
"""An identity and a resource."""


def _named(info: RequestInfo) -> int:
    """The resourceVersion that a request names."""
    return version_number(info.query.get("resourceVersion", ""))


class History:
    """Where the API server's history ends, for each resource.

    Args:
        reactor: time.
        host: the Host header for the cloud.
        newest: the latest version that any client was shown of each resource, by group and name.
        cluster_restored: called once for each resource whose history ends before that, with the end.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        host: bytes,
        newest: Callable[[], dict[Resource, int]],
        cluster_restored: Callable[[str, str, int], None],
    ) -> None:
        self._reactor = reactor
        self._host = host
        self._newest = newest
        self._cluster_restored = cluster_restored
        self._shown: dict[Resource, int] = {}
        """The latest versions shown before the cloud was away."""
        self._reached: dict[Resource, int] = {}
        """The versions that the history is known to reach."""
        self._confirmed: set[Resource] = set()
        """Resources whose history includes what was shown before."""
        self._checks: dict[_CheckKey, tuple[float, Deferred[int], list[Deferred[int]]]] = {}

    def reset(self) -> None:
        """The cloud is away: check every resource again when it returns, as the cluster may be restored."""
        self._shown = self._newest()
        self._confirmed.clear()
        self._reached.clear()
        for _, checking, _ in list(self._checks.values()):
            checking.cancel()

    def stop(self) -> None:
        """Cancel the checks; the requests that wait get CancelledError."""
        for _, checking, waiting in list(self._checks.values()):
            waiters = list(waiting)
            waiting.clear()
            checking.cancel()
            for waiter in waiters:
                waiter.errback(CancelledError())

    def must_check(self, info: RequestInfo) -> bool:
        """Whether a request names a version that the history may not reach."""
        return (
            info.verb in ("watch", "list")
            and not info.name
            and (info.group, info.resource) not in self._confirmed
            and _named(info) > self._reached.get((info.group, info.resource), 0)
            and info.query.get("resourceVersionMatch", "") != "Exact"
            and not info.flag("sendInitialEvents")  # such a watch gets an error by itself
        )

    def waiting_since(self) -> Iterator[float]:
        """When each check under way began, reactor seconds."""
        return (began for began, _, _ in self._checks.values())

    async def history_end(self, caller: Caller, info: RequestInfo) -> int:
        """Where the history ends, if that is before the version that a request names; else, or if that cannot
        be found out, 0. Raises CancelledError.
        """
        wanted = _named(info)
        arrived = self._reactor.seconds()
        while True:
            began, number = await self._check(caller, info)
            if wanted <= number:
                return 0
            if began >= arrived or number == 0:
                return number

    async def _check(self, caller: Caller, info: RequestInfo) -> tuple[float, int]:
        """When a check, perhaps of an earlier request, began, and the version it found or 0."""
        key = (caller.identity, info.group, info.resource)
        waiter: Deferred[int] = Deferred()
        if key in self._checks:
            began, _, waiting = self._checks[key]
            waiting.append(waiter)
        else:
            began = self._reactor.seconds()
            asking = Deferred.fromCoroutine(self._ask(caller, info)).addTimeout(TIMEOUT, self._reactor)
            self._checks[key] = (began, asking, [waiter])
            asking.addErrback(self._failed).addCallback(self._done, key)
        return began, await waiter

    def _failed(self, failure: Failure) -> int:
        # UnexpectedStatus: the caller may watch but not list, or the path is no collection.
        if failure.check(ConnectError, FetchError, DecodeError, TimeoutError, CancelledError) is None:
            _log.failure("the end of the cloud's history could not be found out", failure)
        return 0

    def _done(self, number: int, key: _CheckKey) -> None:
        for waiter in self._checks.pop(key)[2]:
            waiter.callback(number)

    async def _ask(self, caller: Caller, info: RequestInfo) -> int:
        query = [(key, info.query[key]) for key in ("fieldSelector", "labelSelector") if key in info.query]
        target = f"{quote(info.path)}?{urlencode([*query, ('limit', '1')])}"
        body = await fetch_body(caller.pool, self._host, target, _ACCEPT, caller.authorization, idle=True)
        number = version_number(_codec.decode_list(body).version)
        resource = (info.group, info.resource)
        is_first = resource not in self._reached
        self._reached[resource] = number
        shown = max(_named(info), self._shown.get(resource, 0))
        if number >= shown:
            self._confirmed.add(resource)
        elif is_first:
            _log.warn(
                "the history of {resource} ends at {number}, and {shown} was shown before: the cluster was "
                "restored from a backup; clients with later versions must list again",
                resource=qualified(info.group, info.resource),
                number=number,
                shown=shown,
            )
            self._cluster_restored(*resource, number)
        return number
