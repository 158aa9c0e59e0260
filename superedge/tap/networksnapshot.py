"""The network snapshots: where the list of pods that ends reservations comes from."""

from __future__ import annotations

from superedge.config.networksnapshot import NetworkSnapshotConfig
from superedge.config.root import Config
from superedge.interfaces import IReactor
from superedge.netsnapshot.names import node_name
from superedge.netsnapshot.service import NetworkSnapshots
from superedge.tls.reload import FileWatcher


def network_snapshots(
    reactor: IReactor, config: Config, settings: NetworkSnapshotConfig, watcher: FileWatcher
) -> NetworkSnapshots:
    """Not yet started. Raises SuperEdgeError."""
    if config.kubernetes.kubeconfig is None:
        return NetworkSnapshots(reactor, settings)
    # Imported here, because a node without an API server needs neither its client nor superedge-ipam.
    from superedge.kube.access import load_access  # noqa: PLC0415
    from superedge.kube.client import KubeClient  # noqa: PLC0415
    from superedge.netsnapshot.ipam.store import Store  # noqa: PLC0415
    from superedge.netsnapshot.reservations import Releaser  # noqa: PLC0415

    access = load_access(config.kubernetes.kubeconfig)
    watcher.watch_context(access.tls)
    client = KubeClient(reactor, access)
    node = node_name(settings.node)
    releaser = Releaser(reactor, client, node, Store(str(settings.ipam)), settings.release_interval)
    return NetworkSnapshots(reactor, settings, releaser)
