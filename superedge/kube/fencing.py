"""A client that writes only while its process leads, so that a process that was paused overwrites nothing.

A process that the kernel or a hypervisor stopped for a while runs the timers that came due before it learns
that another process leads.
"""

from __future__ import annotations

from collections.abc import Callable

from superedge.kube.beforewrites import BeforeWrites
from superedge.kube.client import IKubeClient
from superedge.kube.errors import Unavailable


class FencedClient(BeforeWrites):
    """An `IKubeClient` whose writes fail with Unavailable while ``leads`` returns False."""

    def __init__(self, client: IKubeClient, leads: Callable[[], bool]) -> None:
        """``leads``: usually `LeaderElection.leads`."""
        super().__init__(client)
        self._leads = leads

    async def before_write(self) -> None:
        """See `BeforeWrites`."""
        if not self._leads():
            raise Unavailable("not written: this process has not renewed its Lease in time")
