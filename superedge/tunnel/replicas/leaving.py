"""The order in which a cloud end stops, so that no caller and no stream is lost."""

from __future__ import annotations

from twisted.application.service import MultiService, Service
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from superedge.tunnel.cloud import TunnelCloud
from superedge.tunnel.replicas.registry import KubernetesRegistry

_log = Logger()


class OrderedServices(MultiService):
    """Stops its services one after the other, the last added first."""

    async def stopService(self) -> None:
        """Stop all, whatever becomes of one."""
        Service.stopService(self)
        for service in reversed(list(self)):
            try:
                await maybeDeferred(service.stopService)
            except Exception:
                _log.failure(
                    "{service} did not stop in order", service=service.name or type(service).__name__
                )


class Draining(Service):
    """Stops first in a cloud end without replicas: callers are served until the streams have ended."""

    name = "draining"

    def __init__(self, cloud: TunnelCloud) -> None:
        self._cloud = cloud

    async def stopService(self) -> None:
        """Everything else still serves meanwhile."""
        super().stopService()
        await self._cloud.drain()


class Leaving(Service):
    """Stops first: announces the end, sends the nodes away, and gives callers ``delay`` seconds to notice."""

    name = "leaving"

    def __init__(
        self, reactor: IReactorTime, registry: KubernetesRegistry, cloud: TunnelCloud, delay: float
    ) -> None:
        self._reactor = reactor
        self._registry = registry
        self._cloud = cloud
        self._delay = delay

    async def stopService(self) -> None:
        """Everything else still serves meanwhile."""
        super().stopService()
        self._cloud.start_draining()
        await self._registry.leave()
        await deferLater(self._reactor, self._delay)
