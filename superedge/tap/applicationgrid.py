"""Composes the controller of the application grid."""

from __future__ import annotations

from superedge.config.grid import ApplicationGridConfig
from superedge.config.kubernetes import KubernetesConfig
from superedge.grid.cloud.service import ApplicationGrid
from superedge.interfaces import IReactor
from superedge.kube.access import load_access
from superedge.kube.client import KubeClient
from superedge.tls.reload import FileWatcher


def application_grid(
    reactor: IReactor, config: ApplicationGridConfig, kubernetes: KubernetesConfig, watcher: FileWatcher
) -> ApplicationGrid:
    """The service, with a client of its own. Raises SuperEdgeError."""
    access = load_access(kubernetes.kubeconfig)
    watcher.watch_context(access.tls)
    return ApplicationGrid(reactor, config, KubeClient(reactor, access), access.namespace)
