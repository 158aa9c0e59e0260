"""A client that writes only while its process leads, so that a process that was paused overwrites nothing.

A process that the kernel or a hypervisor stopped for a while runs the timers that came due before it learns
that another process leads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from superedge.kube.client import IKubeClient
from superedge.kube.errors import Unavailable
from superedge.kube.objects import WatchEvent


class FencedClient:
    """An `IKubeClient` whose writes fail with Unavailable while ``leads`` returns False."""

    def __init__(self, client: IKubeClient, leads: Callable[[], bool]) -> None:
        """``leads``: usually `LeaderElection.leads`."""
        self._client = client
        self._leads = leads

    async def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "application/json",
    ) -> bytes:
        """See `IKubeClient`."""
        if method != "GET" and not self._leads():
            raise Unavailable("not written: this process has not renewed its Lease in time")
        return await self._client.call(method, path, query, body, content_type)

    async def watch(
        self, path: str, query: Mapping[str, str], seconds: int, on_event: Callable[[WatchEvent], None]
    ) -> None:
        """See `IKubeClient`."""
        await self._client.watch(path, query, seconds, on_event)
