"""A local copy of a collection: list, then watch, forever.

Source: Kubernetes API concepts, "Efficient detection of changes".
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Generic, NamedTuple, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from superedge.kube.client import WATCH_GRACE, IKubeClient, Problems
from superedge.kube.errors import APIError, DecodeError
from superedge.kube.json import JSONCodec
from superedge.kube.objects import Item, WatchEvent
from superedge.reactor.backoff import Backoff
from superedge.reactor.loops import Loop

PAGE = 500
WATCH_SECONDS = (240, 480)
"""A watch's time limit is drawn from here, so that many do not end at once."""
TURN = WATCH_SECONDS[1] + WATCH_GRACE + 120.0
"""Seconds within which a list and a watch, or their failure, are over."""
SHORT_WATCH = 1.0
"""Seconds; a watch that ends sooner is followed by a pause, as a failed one is."""

_GONE = 410
_codec = JSONCodec()
_log = Logger()

T = TypeVar("T")


class Key(NamedTuple):
    """Which object; ``namespace`` is empty for one of the cluster."""

    namespace: str
    name: str


class Reflector(Service, Generic[T]):
    """Keeps ``objects``, and tells ``changed`` of each that came, changed (the object) or went (None).

    ``decode`` takes an object's JSON; one that it refuses with DecodeError is logged and counts as absent.
    While the API server is away the copy stays as it is. What ``changed`` raises is logged.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        client: IKubeClient,
        path: str,
        decode: Callable[[bytes], T],
        changed: Callable[[Key, T | None], None],
        selector: str = "",
        random: Random | None = None,
    ) -> None:
        """``path`` is the collection's; ``selector`` a label selector."""
        self._reactor = reactor
        self._client = client
        self._path = path
        self._decode = decode
        self._changed = changed
        self._query = {"labelSelector": selector} if selector else {}
        self._random = random or Random()
        self._backoff = Backoff(initial=0.5, maximum=10.0, stable=30.0, random=self._random)
        self._versions: dict[Key, str] = {}
        self._version = ""
        self._loop = Loop(reactor, f"following {path}", self._run, TURN)
        self._failing = False
        self._connected = False
        self._synced: Deferred[None] = Deferred()
        self.objects: dict[Key, T] = {}

    @property
    def synced(self) -> bool:
        """Whether there has been a first list."""
        return self._synced.called

    def when_synced(self) -> Deferred[None]:
        """Fires after the first list."""
        waiting: Deferred[None] = Deferred()
        self._synced.addCallback(lambda _: waiting.callback(None))
        return waiting

    def startService(self) -> None:
        """Begin."""
        super().startService()
        self._loop.start()

    def stopService(self) -> None:
        """Follow no more; the copy stays."""
        super().stopService()
        self._loop.stop()

    async def _run(self) -> None:
        version = ""
        while True:
            self._loop.iteration_done(TURN)
            started = self._reactor.seconds()
            try:
                if not version:
                    version = await self._list()
                version = await self._watch(version)
            except Problems as problem:
                # A version that is too old, or an event that cannot be read: begin anew.
                anew = isinstance(problem, DecodeError) or (
                    isinstance(problem, APIError) and problem.code == _GONE
                )
                version = self._version if version and not anew else ""
                if not anew:
                    self._trouble(str(problem))
                elif self._reactor.seconds() - started >= SHORT_WATCH:
                    continue
            else:
                if self._reactor.seconds() - started >= SHORT_WATCH:
                    continue
            self._connected = False
            await deferLater(self._reactor, self._backoff.failed(self._reactor.seconds()))

    def _trouble(self, problem: str) -> None:
        if not self._failing:
            self._failing = True
            _log.warn("cannot follow {path}: {problem}", path=self._path, problem=problem)

    def _working(self) -> None:
        if not self._connected:
            self._connected = True
            self._backoff.connected(self._reactor.seconds())
        if self._failing:
            self._failing = False
            _log.info("following {path} again", path=self._path)

    async def _list(self) -> str:
        found: dict[Key, Item] = {}
        query = {**self._query, "limit": str(PAGE)}
        while True:
            page = _codec.decode_list(await self._client.call("GET", self._path, query))
            found.update((Key(item.namespace, item.name), item) for item in page.items)
            if not page.token:
                break
            query["continue"] = page.token
        self._working()
        for key in [key for key in self._versions if key not in found]:
            self._forget(key)
        for key, item in found.items():
            if self._versions.get(key) != item.version:
                self._take(key, item)
        if not self._synced.called:
            self._synced.callback(None)
        return page.version

    async def _watch(self, version: str) -> str:
        """Follow changes from ``version`` on; the version to go on from."""
        self._version = version
        query = {**self._query, "resourceVersion": version, "allowWatchBookmarks": "true"}
        await self._client.watch(self._path, query, self._random.randint(*WATCH_SECONDS), self._event)
        self._working()
        return self._version

    def _event(self, event: WatchEvent) -> None:
        item = event.item
        self._working()
        if event.type in ("ADDED", "MODIFIED"):
            self._take(Key(item.namespace, item.name), item)
        elif event.type == "DELETED":
            self._forget(Key(item.namespace, item.name))
        self._version = item.version

    def _take(self, key: Key, item: Item) -> None:
        self._versions[key] = item.version
        try:
            decoded = self._decode(item.raw)
        except DecodeError as problem:
            _log.error(
                "{path}: {name} is ignored: {problem}", path=self._path, name=key.name, problem=problem
            )
            if self.objects.pop(key, None) is not None:
                self._tell(key, None)
            return
        self.objects[key] = decoded
        self._tell(key, decoded)

    def _forget(self, key: Key) -> None:
        self._versions.pop(key, None)
        if self.objects.pop(key, None) is not None:
            self._tell(key, None)

    def _tell(self, key: Key, decoded: T | None) -> None:
        try:
            self._changed(key, decoded)
        except Exception:
            _log.failure("{path}: a change of {name} was not followed", path=self._path, name=key.name)
