"""The service: runs for the Lease, installs the CRDs if it is to, and controls while it leads."""

from __future__ import annotations

import socket
import uuid
from typing import Any

from twisted.application.service import MultiService

from superedge.config.grid import ApplicationGridConfig
from superedge.grid.cloud import metrics
from superedge.grid.cloud.children import MANAGER
from superedge.grid.cloud.controller import Controller
from superedge.grid.cloud.installing import install
from superedge.interfaces import IReactor
from superedge.kube.client import IKubeClient
from superedge.kube.events import EventRecorder
from superedge.kube.fencing import FencedClient
from superedge.kube.leaderelection import LeaderElection
from superedge.kube.ratelimit import RateLimitedClient
from superedge.reactor.loops import Loop

LEASE = "superedge-application-grid"


class ApplicationGrid(MultiService):
    """Controls the grids of the cluster while it has the Lease."""

    name = "application-grid"

    def __init__(
        self, reactor: IReactor, config: ApplicationGridConfig, client: IKubeClient, namespace: str
    ) -> None:
        """``namespace``: that of the Lease."""
        super().__init__()
        self._reactor = reactor
        self._config = config
        host = socket.gethostname()
        identity = f"{host}_{uuid.uuid4().hex[:12]}"
        # With the client itself: the Lease does not wait behind other writes.
        self._election = LeaderElection(reactor, client, namespace, LEASE, identity, self._begin, self._end)
        fenced = FencedClient(client, self._election.leads)
        self._client = RateLimitedClient(reactor, fenced, config.qps, config.burst)
        self._controller: Controller | None = None
        self._beginning = Loop(reactor, "starting the application grid", self._control)
        self._events = EventRecorder(self._client, MANAGER, host)
        self._election.setServiceParent(self)

    def _begin(self) -> None:
        metrics.LEADING.set(1)
        self._beginning.start()

    async def _control(self) -> None:
        if self._config.install_crds:
            await install(self._reactor, self._client)
        self._controller = Controller(self._reactor, self._client, self._events, self._config.site_grace)
        self._controller.setServiceParent(self)

    def _end(self) -> None:
        metrics.LEADING.set(0)
        self._beginning.stop()
        controller, self._controller = self._controller, None
        if controller is not None:
            controller.disownServiceParent()

    def waits_for(self) -> str:
        """For the readiness page: what is missing until this process works, or sees that another does."""
        if not self._election.leading:
            waits = self._election.waits_for()
        elif self._controller is None:
            waits = "the CRDs"
        elif self._controller.synced:
            waits = ""
        else:
            waits = "; ".join(self._controller.problems()) or "the cluster's nodes and grids"
        return waits and f"the application grid: {waits}"

    def status(self) -> dict[str, Any]:
        """For the status page."""
        found: dict[str, Any] = {"leading": self._election.leading, "leader": self._election.holder}
        if self._controller is not None:
            found.update(self._controller.status())
        return found
