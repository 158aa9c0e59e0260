"""The service in the cloud. One replica judges: the one that holds the Lease; see `judging.py`."""

from __future__ import annotations

import socket
import uuid
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.task import deferLater
from twisted.logger import Logger

from superedge.config.health import EdgeAdmissionConfig
from superedge.health import metrics
from superedge.health.cloud.admission.proof import Enforcement
from superedge.health.cloud.judging import Judging
from superedge.health.cloud.keeping import NAME, read_kept
from superedge.health.votes.signing import NodeOf, Verifier
from superedge.interfaces import IReactor
from superedge.kube.client import CONFIGMAPS, KubeClient, Problems
from superedge.kube.fencing import FencedClient
from superedge.kube.leaderelection import LeaderElection
from superedge.kube.reflector import Key, Reflector
from superedge.reactor.loops import Loop
from superedge.reactor.task import in_background
from superedge.tls.reload import FileWatcher

LEASE = "superedge-edge-health"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
ASK_AGAIN = 5.0

_log = Logger()


class EdgeAdmission(MultiService):
    """Takes part in the election, and judges while this replica leads."""

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
        watcher.watch(config.ca, self.forget_voters)
        self._judging: Judging | None = None
        self._enforcement: Enforcement = "webhook"
        self._choosing = Loop(reactor, "starting edge health", self._choose)
        identity = f"{socket.gethostname()}_{uuid.uuid4().hex[:12]}"
        self._election = LeaderElection(reactor, client, namespace, LEASE, identity, self._begin, self._end)
        streams.on_change(self._sessions_changed)

    def startService(self) -> None:
        """Choose the enforcement, then take part in the election."""
        super().startService()
        self._choosing.start()

    def stopService(self) -> Any:
        """Stop."""
        self._choosing.stop()
        return super().stopService()

    async def _choose(self) -> None:
        if self._config.enforcement != "auto":
            self._enforcement = self._config.enforcement
        else:
            self._enforcement = await self._served()
            _log.info("edge health is enforced by {enforcement}", enforcement=self._enforcement)
        if self._enforcement == "webhook":
            self._add_webhook()
        self._election.setServiceParent(self)

    async def _served(self) -> Enforcement:
        """The policy if the API server serves it. Repeats the request until there is an answer."""
        failing = False
        while True:
            try:
                answer = await self._client.call("GET", ADMISSION)
            except Problems as problem:
                if not failing:
                    failing = True
                    _log.warn(
                        "cannot discover whether the API server serves admission policies: {problem}",
                        problem=problem,
                    )
                await deferLater(self._reactor, ASK_AGAIN)
            else:
                return "policy" if b'"mutatingadmissionpolicies"' in answer else "webhook"

    def _add_webhook(self) -> None:
        from superedge.health.cloud.admission.serving import ServingCertificate  # noqa: PLC0415
        from superedge.health.cloud.admission.webhook import Webhook  # noqa: PLC0415

        kept: dict[str, float] = {}

        def changed(key: Key, entries: dict[str, float] | None) -> None:
            kept.clear()
            kept.update(entries or {})

        follower = Reflector(
            self._reactor,
            self._client,
            CONFIGMAPS.path(self._namespace),
            read_kept,
            changed,
            field_selector=f"metadata.name={NAME}",
        )
        settings = self._config.webhook
        server = Webhook(self._reactor, settings.listen, kept)
        certificate = ServingCertificate(
            self._reactor, self._client, self._namespace, settings.names, server.serve_with
        )
        for service in (follower, server, certificate):
            service.setServiceParent(self)

    def forget_voters(self) -> None:
        """CAs or denied certificates changed: every voter must show its certificate again."""
        self._verifier.reload()
        if self._judging is not None:
            self._judging.reconnect()

    def _sessions_changed(self) -> None:
        if self._judging is not None:
            self._judging.sessions_changed()

    def _begin(self) -> None:
        metrics.JUDGING.set(1)
        self._judging = Judging(
            self._reactor,
            self._config,
            self._enforcement,
            FencedClient(self._client, self._election.leads),
            self._namespace,
            self._streams,
            self._verifier,
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

    def waits_for(self) -> str:
        """For the readiness page: what is missing until this process judges, or sees that another does."""
        judging = self._judging
        waits = self._election.waits_for() if judging is None else judging.waits_for()
        return waits and f"edge health: {waits}"

    def status(self) -> dict[str, Any]:
        """The data of the status page and of `superedge health`."""
        found: dict[str, Any] = {"judging": self._judging is not None, "judge": self._election.holder}
        if self._judging is not None:
            found.update(self._judging.status())
        return found
