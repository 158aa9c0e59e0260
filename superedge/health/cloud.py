"""The cloud's half: one replica judges, and says what becomes of nodes; see `judging.py` for its parts."""

from __future__ import annotations

import socket
import uuid
from typing import Any

from twisted.application.service import MultiService
from twisted.logger import Logger

from superedge.config.health import EdgeAdmissionConfig
from superedge.health import metrics
from superedge.health.judging import Judging
from superedge.health.signing import NodeOf, Verifier
from superedge.interfaces import IReactor
from superedge.kube.client import KubeClient
from superedge.kube.leaderelection import LeaderElection
from superedge.net.task import in_background
from superedge.tls.reload import FileWatcher

LEASE = "superedge-edge-health"

_log = Logger()


class EdgeAdmission(MultiService):
    """Runs for the Lease, and judges while it has it."""

    name = "edge-admission"

    def __init__(
        self,
        reactor: IReactor,
        config: EdgeAdmissionConfig,
        client: KubeClient,
        namespace: str,
        streams: Any,
        watcher: FileWatcher,
        node_of: NodeOf,
    ) -> None:
        """``streams`` is an `INodeStreams`. Raises IdentityError."""
        super().__init__()
        self._reactor = reactor
        self._config = config
        self._client = client
        self._namespace = namespace
        self._streams = streams
        self._verifier = Verifier(config.ca, node_of, limit=65536)
        watcher.watch(config.ca, self._verifier.reload)
        self._judging: Judging | None = None
        identity = f"{socket.gethostname()}_{uuid.uuid4().hex[:12]}"
        self._election = LeaderElection(reactor, client, namespace, LEASE, identity, self._begin, self._end)
        self._election.setServiceParent(self)
        streams.on_change(self._sessions_changed)

    def _sessions_changed(self) -> None:
        if self._judging is not None:
            self._judging.sessions_changed()

    def _begin(self) -> None:
        metrics.JUDGING.set(1)
        self._judging = Judging(
            self._reactor, self._config, self._client, self._namespace, self._streams, self._verifier
        )
        self._judging.setServiceParent(self)

    def _end(self) -> None:
        metrics.JUDGING.set(0)
        judging, self._judging = self._judging, None
        if judging is not None:
            in_background(self._part_with(judging), _log, "the judge did not stop")

    async def _part_with(self, judging: Judging) -> None:
        done = judging.disownServiceParent()
        if done is not None:
            await done

    def status(self) -> dict[str, Any]:
        """For the status page, and for `superedge health` in the cloud."""
        found: dict[str, Any] = {"judging": self._judging is not None, "judge": self._election.holder}
        if self._judging is not None:
            found.update(self._judging.status())
        return found
