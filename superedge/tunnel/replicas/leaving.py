"""Stopping a cloud end in an order that loses no caller and no stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
        """Stop every service, even if one fails to stop."""
        Service.stopService(self)
        for service in reversed(list(self)):
            try:
                await maybeDeferred(service.stopService)
            except Exception:
                _log.failure(
                    "{service} did not stop in order", service=service.name or type(service).__name__
                )


class Draining(Service):
    """The tunnel's first service to stop without replicas: it drains the node sessions while callers are
    still served."""

    name = "draining"

    def __init__(self, cloud: TunnelCloud, on_draining: Sequence[Callable[[], None]]) -> None:
        """Each of ``on_draining`` is called before the drain."""
        self._cloud = cloud
        self._on_draining = on_draining

    async def stopService(self) -> None:
        """Drain; the other services still run."""
        super().stopService()
        for draining in self._on_draining:
            draining()
        await self._cloud.drain()


class Leaving(Service):
    """The first service to stop with replicas.

    It marks the replica as draining, sends its nodes elsewhere, and waits ``delay`` seconds for callers to
    notice.
    """

    name = "leaving"

    def __init__(
        self, reactor: IReactorTime, registry: KubernetesRegistry, cloud: TunnelCloud, delay: float
    ) -> None:
        self._reactor = reactor
        self._registry = registry
        self._cloud = cloud
        self._delay = delay

    async def stopService(self) -> None:
        """Leave; the other services still run."""
        super().stopService()
        self._cloud.start_draining()
        await self._registry.leave()
        await deferLater(self._reactor, self._delay)
