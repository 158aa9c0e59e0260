"""Table ``[network_snapshot]``: the node's network, kept for a reboot without the cloud."""

from __future__ import annotations

from pathlib import Path

import msgspec

from superedge.config.checks import check_networks, check_not_negative, check_positive


class NetworkSnapshotConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keeps the node's network on disk as it changes, and ends reservations of pods that are gone."""

    #: Directory of the snapshots, of which the last three are kept.
    directory: Path = Path("/var/lib/superedge/network")
    #: The node's name; empty for the machine's host name in lower case.
    node: str = ""
    #: Networks (CIDR) of the node's pods; empty for those of its Node object.
    pod_cidrs: list[str] = []
    #: Seconds from a change of the network to the snapshot that has it.
    delay: float = 2.0
    #: Seconds between two readings of the network without a change.
    interval: float = 600.0
    #: Patterns of the names of bridges, VXLAN and dummy devices that something else makes at each start.
    exclude_devices: list[str] = msgspec.field(
        default_factory=lambda: [
            "docker*",
            "br-????????????",
            "podman*",
            "virbr*",
            "lxcbr*",
            "lxdbr*",
            "kube-ipvs0",
            "nodelocaldns",
            "superedge-dns",
        ]
    )
    #: Small text files that do not survive a reboot, and are put back with the network.
    files: list[Path] = msgspec.field(default_factory=lambda: [Path("/run/flannel/subnet.env")])
    #: Directory of superedge-ipam's state, the `dataDir` of its CNI configuration.
    ipam: Path = Path("/var/lib/cni/networks")
    #: Seconds between two looks at reservations whose pods may be gone; 0 for never. It needs a kubeconfig.
    release_interval: float = 60.0

    def __post_init__(self) -> None:
        """Check networks and times."""
        check_networks("pod_cidrs", self.pod_cidrs)
        check_positive(delay=self.delay, interval=self.interval)
        check_not_negative(release_interval=self.release_interval)
