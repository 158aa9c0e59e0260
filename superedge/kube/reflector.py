"""Keeps a local copy of a collection by a list and endless watches.

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
from superedge.kube.json import DeepJSONCodec
from superedge.kube.objects import Item, WatchEvent, version_number
from superedge.reactor.backoff import Backoff
from superedge.reactor.loops import Loop

PAGE_SIZE = 500
WATCH_SECONDS = (240, 480)
"""The range of a watch's random time limit, so that watches do not end simultaneously."""
MAX_CYCLE = WATCH_SECONDS[1] + WATCH_GRACE + 120.0
"""Maximum seconds of one list and watch."""
SHORT_WATCH = 1.0
"""Seconds; a watch that ends sooner is followed by a backoff, like a failed one."""
LASTING_WATCH = 5.0
"""Seconds after which a watch counts as successful without an event: a refusal comes sooner."""

_GONE = 410
_codec = DeepJSONCodec()
_log = Logger()

T = TypeVar("T")


class Key(NamedTuple):
    """The key of an object; ``namespace`` is empty for cluster-scoped objects."""

    namespace: str
    name: str


class Reflector(Service, Generic[T]):
    """Keeps ``objects``, and calls ``changed`` with each added or changed object, or None for a deleted one.

    ``decode`` decodes an object's JSON; when it raises DecodeError, that is logged and the object counts as
    absent. The copy is kept while the API server cannot be reached. Exceptions of ``changed`` are logged.
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
        field_selector: str = "",
    ) -> None:
        """``path`` is that of the collection; ``selector`` is a label selector."""
        self._reactor = reactor
        self._client = client
        self._path = path
        self._decode = decode
        self._changed = changed
        selectors = {"labelSelector": selector, "fieldSelector": field_selector}
        self._query = {key: value for key, value in selectors.items() if value}
        self._random = random or Random()
        self._backoff = Backoff(initial=0.5, maximum=10.0, stable=30.0, random=self._random)
        self._versions: dict[Key, str] = {}
        self._version = ""
        self._loop = Loop(reactor, f"following {path}", self._run, MAX_CYCLE)
        self._connected = False
        self.problem = ""
        """Which collection cannot be read or watched now, and why; empty while it can."""
        self._synced: Deferred[None] = Deferred()
        self.objects: dict[Key, T] = {}

    @property
    def synced(self) -> bool:
        """Whether the first list is complete."""
        return self._synced.called

    def when_synced(self) -> Deferred[None]:
        """Fires after the first list."""
        waiting: Deferred[None] = Deferred()
        self._synced.addCallback(lambda _: waiting.callback(None))
        return waiting

    def startService(self) -> None:
        super().startService()
        self._loop.start()

    def stopService(self) -> None:
        """Stop watching; the copy is kept."""
        super().stopService()
        self._loop.stop()

    async def _run(self) -> None:
        version = ""
        failed = False
        while True:
            self._loop.iteration_done(MAX_CYCLE)
            started = self._reactor.seconds()
            try:
                if version and failed and not await self._reaches(version):
                    version = ""
                failed = False
                if not version:
                    version = await self._list()
                version = await self._watch(version)
            except Problems as problem:
                # The resourceVersion is too old, or an event cannot be decoded: list again.
                gone = isinstance(problem, APIError) and problem.code == _GONE
                relist = gone or isinstance(problem, DecodeError)
                version = self._version if version and not relist else ""
                failed = not relist
                if not gone:
                    self._log_failure(str(problem))
                if relist and self._reactor.seconds() - started >= SHORT_WATCH:
                    continue
            else:
                if self._reactor.seconds() - started >= SHORT_WATCH:
                    continue
            self._connected = False
            await deferLater(self._reactor, self._backoff.failed(self._reactor.seconds()))

    def _log_failure(self, problem: str) -> None:
        if not self.problem:
            _log.warn("cannot watch {path}: {problem}", path=self._path, problem=problem)
        self.problem = f"{self._path}: {problem}"

    def _succeeded(self) -> None:
        if not self._connected:
            self._connected = True
            self._backoff.connected(self._reactor.seconds())
        if self.problem:
            self.problem = ""
            _log.info("watching {path} again", path=self._path)

    async def _reaches(self, version: str) -> bool:
        """Whether the history includes a version.

        That of a cluster that was restored from a backup may end before. Its API server would take the watch,
        and send nothing until it reaches the version.
        """
        page = _codec.decode_list(await self._client.call("GET", self._path, {**self._query, "limit": "1"}))
        return version_number(page.version) >= version_number(version)

    async def _list(self) -> str:
        found: dict[Key, Item] = {}
        query = {**self._query, "limit": str(PAGE_SIZE)}
        while True:
            page = _codec.decode_list(await self._client.call("GET", self._path, query))
            found.update((Key(item.namespace, item.name), item) for item in page.items)
            if not page.token:
                break
            query["continue"] = page.token
        self._succeeded()
        for key in [key for key in self._versions if key not in found]:
            self._delete(key)
        # After a restore, an object of the same version may be another.
        restored = version_number(page.version) < version_number(self._version)
        for key, item in found.items():
            if restored or self._versions.get(key) != item.version:
                self._update(key, item)
        if not self._synced.called:
            self._synced.callback(None)
        return page.version

    async def _watch(self, version: str) -> str:
        """Watch from ``version``. Returns the version from which to continue."""
        self._version = version
        query = {**self._query, "resourceVersion": version, "allowWatchBookmarks": "true"}
        lasting = self._reactor.callLater(LASTING_WATCH, self._succeeded)
        try:
            await self._client.watch(self._path, query, self._random.randint(*WATCH_SECONDS), self._event)
        finally:
            if lasting.active():
                lasting.cancel()
        self._succeeded()
        return self._version

    def _event(self, event: WatchEvent) -> None:
        item = event.item
        self._succeeded()
        if event.type in ("ADDED", "MODIFIED"):
            self._update(Key(item.namespace, item.name), item)
        elif event.type == "DELETED":
            self._delete(Key(item.namespace, item.name))
        self._version = item.version

    def _update(self, key: Key, item: Item) -> None:
        self._versions[key] = item.version
        try:
            decoded = self._decode(item.raw)
        except DecodeError as problem:
            _log.error(
                "{path}: ignored the object {name}: {problem}",
                path=self._path,
                name=key.name,
                problem=problem,
            )
            if self.objects.pop(key, None) is not None:
                self._notify(key, None)
            return
        self.objects[key] = decoded
        self._notify(key, decoded)

    def _delete(self, key: Key) -> None:
        self._versions.pop(key, None)
        if self.objects.pop(key, None) is not None:
            self._notify(key, None)

    def _notify(self, key: Key, decoded: T | None) -> None:
        try:
            self._changed(key, decoded)
        except Exception:
            _log.failure("{path}: a change of {name} could not be processed", path=self._path, name=key.name)
