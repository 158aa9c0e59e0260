"""Sections ``[edge_health]`` and ``[edge_admission]``: nodes that vote, and the cloud that judges."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from superedge.config.checks import check_not_empty, check_not_negative, check_positive, check_tcp_address

MAX_WITNESSES = 64


class ProbeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One way to check a peer. Its part of the score is its weight if it passes, and nothing if not."""

    #: `kubelet`, `tcp`, `http`, `https`, `icmp`, or the kind of a probe that an installed package brings.
    kind: str
    #: Port of the peer; 0 for its kubelet's.
    port: int = 0
    #: Part of the score, 0 to 1; 0 for an equal part of what the others leave of 1.
    weight: float = 0.0
    #: Seconds for an answer.
    timeout: float = 2.0
    #: Further attempts before the probe counts as failed.
    retries: int = 0
    #: What the kind takes: http, https and kubelet `path`, `host`, `ca` (list of files) and `server_name`.
    options: dict[str, Any] = {}

    def __post_init__(self) -> None:
        """Check numbers."""
        check_positive(timeout=self.timeout)
        check_not_negative(retries=self.retries)
        if not 0 <= self.weight <= 1:
            raise ValueError(f"weight: {self.weight} is not 0 to 1")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port: {self.port} is no port")
        if not self.port and self.kind in ("http", "https"):
            raise ValueError(f"port: is required for the kind {self.kind}")


class EdgeHealthConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The edge's half of edge health: probes peers of the node's unit and votes; needs `tunnel_edge`."""

    #: Address at which peers come in.
    listen: str = "0.0.0.0:51005"
    #: The node's certificate, for TLS and for its ballots, good for clients and servers; its common name is
    #: the node's name.
    certificate: Path
    #: Its private key.
    key: Path
    #: CAs that sign the nodes' certificates.
    ca: list[Path]
    #: Score, 0 to 100, from which a peer is healthy.
    healthcheckscoreline: int = 100
    #: Seconds between two checks of a peer.
    period: float = 5.0
    #: Directory in which the node's unit is remembered, for a start without the cloud.
    state: Path = Path("/var/lib/superedge/health")
    #: How peers are checked.
    probes: list[ProbeConfig] = msgspec.field(default_factory=lambda: [ProbeConfig(kind="kubelet")])

    def __post_init__(self) -> None:
        """Check numbers and addresses."""
        check_tcp_address("listen", self.listen)
        check_positive(period=self.period)
        check_not_empty(ca=self.ca)
        if not 1 <= self.healthcheckscoreline <= 100:
            raise ValueError(f"healthcheckscoreline: {self.healthcheckscoreline} is not 1 to 100")
        check_not_empty(probes=self.probes)
        if sum(probe.weight for probe in self.probes) > 1.0001:
            raise ValueError("probes: their weights add up to more than 1")

    def weights(self) -> list[float]:
        """Each probe's part of the score."""
        left = 1 - sum(probe.weight for probe in self.probes)
        open_ = sum(1 for probe in self.probes if not probe.weight)
        return [probe.weight or left / open_ for probe in self.probes]


class AdmissionWebhookConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The webhook's server, where `webhook` is the enforcement."""

    #: Address at which API servers come in.
    listen: str = "0.0.0.0:51006"
    #: Names and addresses in its certificate: what API servers dial.
    names: list[str] = msgspec.field(default_factory=lambda: ["superedge-admission.superedge.svc"])

    def __post_init__(self) -> None:
        """Check the address and that there is a name."""
        check_tcp_address("listen", self.listen)
        check_not_empty(names=self.names)


class EdgeAdmissionConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The cloud's half of edge health: judges nodes by their peers' ballots; needs `tunnel_cloud`."""

    #: CAs that sign the nodes' certificates: who may vote.
    ca: list[Path]
    #: Label of Nodes whose value is their unit: nodes of a unit reach each other and vote on each other.
    #: Empty for one unit of all nodes. Nodes without the label are left alone.
    unit_label: str = "topology.kubernetes.io/zone"
    #: Units that are checked; `*` for any.
    units: list[str] = msgspec.field(default_factory=lambda: ["*"])
    #: ConfigMap whose keys `unit_label` and `units`, if they are there, take the place of those two; followed
    #: live.
    config_map: str = "superedge-edge-health"
    #: Peers that probe a node, at most.
    witnesses: int = 10
    #: Witnesses that it takes to call a node dead; in a unit of two one is enough.
    minimum_witnesses: int = 2
    #: What becomes of nodes that the cloud has lost and of which peers say nothing: `keep` or `evict`.
    unknown: Literal["keep", "evict"] = "keep"
    #: Seconds that such a node is kept; 0 without a bound. A Node's annotation `superedge.io/keep-unknown`,
    #: such as `24h`, goes before it.
    keep_unknown: float = 0.0
    #: How the pods of a dead node are evicted: `fast`, at once, by the taint `superedge.io/dead`; `native`,
    #: when Ready is Unknown, by `node.kubernetes.io/unreachable`, so that their tolerationSeconds count.
    failover: Literal["fast", "native"] = "fast"
    #: What keeps the nodes that are to be kept: `policy`, `webhook`, or by `auto` the first where the API
    #: server has it.
    enforcement: Literal["auto", "policy", "webhook"] = "auto"
    #: The webhook's server.
    webhook: AdmissionWebhookConfig = msgspec.field(default_factory=AdmissionWebhookConfig)

    def __post_init__(self) -> None:
        """Check numbers."""
        check_not_empty(ca=self.ca)
        if not 1 <= self.witnesses <= MAX_WITNESSES:
            raise ValueError(f"witnesses: {self.witnesses} is not 1 to {MAX_WITNESSES}")
        if not self.minimum_witnesses >= 2:
            raise ValueError(f"minimum_witnesses: {self.minimum_witnesses} is less than 2")
        check_not_negative(keep_unknown=self.keep_unknown)

    @property
    def keep_unknown_seconds(self) -> float | None:
        """How long a node of which nothing is known is kept; None for ever."""
        if self.unknown == "evict":
            return 0.0
        return self.keep_unknown or None
