"""A client as client-go's reflector is one: it lists, watches, and resumes from the last version."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from superedge.kube.codecs import codec_for
from superedge.kube.media import PROTOBUF, Representation
from superedge.kube.objects import WatchEvent
from tests.grid.node.fakeapi import SLICES, decode
from tests.liteapiserver.world import Response, World, until

Object = dict[str, Any]


class Reflector:
    """Holds what it was shown: endpoints' addresses by the slice's name."""

    def __init__(
        self,
        world: World,
        media_type: str,
        path: str = SLICES,
        streaming: bool = False,
        bookmarks: bool = True,
    ) -> None:
        """``streaming`` says whether it begins with a WatchList; ``bookmarks`` whether it takes them."""
        self._world = world
        self._media_type = media_type
        self._path = path
        self._streaming = streaming
        self._bookmarks = bookmarks
        codec = codec_for(Representation(media_type))
        assert codec is not None
        self._codec = codec
        self.shown: dict[str, list[str]] = {}
        self.version = ""
        self.events: list[tuple[str, str, str]] = []
        """Type, name and version of each."""
        self.raw: list[WatchEvent] = []
        self.synced = False
        self.lists = 0
        self._watch: Response | None = None
        self._read = 0
        self._splitter = codec.splitter()
        self._headers = [(b"Accept", media_type.encode())]

    async def relist(self) -> None:
        """List, as at the start or after a 410."""
        self.lists += 1
        answer = await self._world.get(self._path, headers=self._headers)
        assert answer.status == 200, answer.body
        page = self._codec.decode_list(answer.body)
        self.shown = {item.name: self._addresses(item.raw) for item in page.items}
        self.version = page.version
        self.synced = True

    def _addresses(self, raw: bytes) -> list[str]:
        item = decode(raw) if self._media_type == PROTOBUF else json.loads(raw)
        assert item["addressType"] == "IPv4"
        return [each["addresses"][0] for each in item["endpoints"]]

    async def watch(self) -> int:
        """Watch on from the last version; the status."""
        query = {"watch": "true"}
        if self._bookmarks:
            query["allowWatchBookmarks"] = "true"
        if self._streaming and not self.synced:
            query.update(sendInitialEvents="true", resourceVersionMatch="NotOlderThan")
            self.shown = {}
        else:
            query["resourceVersion"] = self.version
        self._splitter = self._codec.splitter()
        self._read = 0
        self._watch = await self._world.send(
            "GET", f"{self._path}?{urlencode(query)}", self._headers, identity=self._world.node
        )
        await self._watch.begun
        status = self._watch.status if self._watch.heads else 0
        if status == 410:
            self.synced = False
        return status

    async def start(self) -> None:
        """List if need be, and watch."""
        while True:
            if not self.synced and not self._streaming:
                await self.relist()
            if await self.watch() == 200:
                return

    def leave(self) -> None:
        """The connection is lost."""
        self.read()
        if self._watch is not None and self._watch.connection is not None:
            self._watch.connection.transport.abortConnection()
        self._watch = None

    @property
    def over(self) -> bool:
        """Whether the watch has ended."""
        return self._watch is None or self._watch.over.called

    def read(self) -> None:
        """Take the events that came."""
        if self._watch is None or self._watch.status != 200:
            return
        pieces, self._read = self._watch.pieces[self._read :], len(self._watch.pieces)
        for frame in [frame for piece in pieces for frame in self._splitter.feed(piece)]:
            self._event(self._codec.decode_event(frame))

    def _event(self, event: WatchEvent) -> None:
        item = event.item
        self.events.append((event.type, item.name, item.version))
        self.raw.append(event)
        if event.type in ("ADDED", "MODIFIED"):
            self.shown[item.name] = self._addresses(item.raw)
        elif event.type == "DELETED":
            self._addresses(item.raw)
            self.shown.pop(item.name, None)
        elif event.initial_events_end:
            self.synced = True
        if self.synced or not self._streaming:
            self.version = item.version

    def holds(self, wanted: dict[str, list[str]]) -> bool:
        """Whether it has exactly this now."""
        self.read()
        return self.shown == wanted

    async def until(self, wanted: dict[str, list[str]], what: str = "", seconds: float = 60.0) -> None:
        """Until it has exactly this, watching on as long as that takes."""

        def there() -> bool:
            return self.holds(wanted) or self.over

        for _ in range(20):
            await until(there, f"{what}: {wanted}", seconds)
            if self.holds(wanted):
                return
            await self.start()
        raise AssertionError(f"{what}: its watch ends again and again")
