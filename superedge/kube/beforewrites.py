"""A client around another one, for what comes before each write."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from superedge.kube.client import IKubeClient
from superedge.kube.objects import WatchEvent


class BeforeWrites:
    """An `IKubeClient` that awaits `before_write` before each request other than a GET or a watch."""

    def __init__(self, client: IKubeClient) -> None:
        self._client = client

    async def before_write(self) -> None:
        """Wait until a write may begin, or raise what `IKubeClient.call` raises."""
        raise NotImplementedError

    async def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
    ) -> bytes:
        """See `IKubeClient`."""
        if method != "GET":
            await self.before_write()
        return await self._client.call(method, path, query, body, content_type)

    async def watch(
        self, path: str, query: Mapping[str, str], seconds: int, on_event: Callable[[WatchEvent], None]
    ) -> None:
        """See `IKubeClient`."""
        await self._client.watch(path, query, seconds, on_event)
