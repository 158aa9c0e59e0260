"""Builds the tree of services from a configuration: a branch for each table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

from twisted.application.service import IService, MultiService

from superedge.config.root import Config
from superedge.errors import ConfigError, ConfigWarning
from superedge.interfaces import (
    ICacheStore,
    ICacheStorePlugin,
    IReactor,
    IServicePlugin,
    IStreamHandler,
)
from superedge.plugin import find_plugin, make_with
from superedge.tap.filters import response_filters
from superedge.tap.warnings import warnings
from superedge.tls.reload import FileWatcher

if TYPE_CHECKING:
    from superedge.ops.http import OpsServer


def installed_reactor() -> IReactor:
    """The installed reactor. Imported late, because importing it installs the default one."""
    from twisted.internet import reactor as installed  # noqa: PLC0415, TID251

    return cast(IReactor, installed)


class Composition(MultiService):
    """The services of a configuration."""

    def __init__(self, config: Config, reactor: IReactor) -> None:
        super().__init__()
        self._config = config
        self.watcher = FileWatcher(reactor)
        """Watches the files that may change while the process runs."""
        self.watcher.setServiceParent(self)
        self.more_warnings: list[Callable[[datetime], Iterable[ConfigWarning]]] = []
        """Functions of components that return further warnings at a given time."""

    def warnings(self) -> list[ConfigWarning]:
        """All warnings; each begins with its key."""
        now = datetime.now(UTC)
        found = list(warnings(self._config, now))
        for more in self.more_warnings:
            found += more(now)
        return found


def compose(config: Config, reactor: IReactor | None = None) -> Composition:
    """Create the services of the configuration's tables without starting them. Raises SuperEdgeError.

    Imports a component only when its table is present.
    """
    reactor = reactor or installed_reactor()
    root = Composition(config, reactor)
    watcher = root.watcher
    ops: OpsServer | None = None
    if config.ops is not None:
        from superedge.ops.http import OpsServer  # noqa: PLC0415

        ops = OpsServer(reactor, config.ops)
        ops.setServiceParent(root)
    if config.tunnel_cloud is not None:
        from superedge.tap.tunnelcloud import TunnelBranch  # noqa: PLC0415

        branch = TunnelBranch(reactor, config, watcher)
        branch.services.setServiceParent(root)
        if ops is not None:
            ops.add_status("tunnel_cloud", branch.status)
            ops.add_readiness(branch.waits_for)
            if branch.admission is not None:
                ops.add_status("edge_admission", branch.admission.status)
                ops.add_readiness(branch.admission.waits_for)
    elif config.tunnel_dns is not None:
        raise ConfigError(
            "tunnel_dns", "", "needs a table tunnel_cloud in the same file, whose nodes it resolves"
        )
    elif config.edge_admission is not None:
        raise ConfigError(
            "edge_admission", "", "needs a table tunnel_cloud in the same file: nodes vote over it"
        )
    if config.tunnel_edge is not None:
        from superedge.tunnel.edge import TunnelEdge  # noqa: PLC0415

        kinds = config.tunnel_edge.handlers
        handlers = {kind: find_plugin(IStreamHandler, kind, "tunnel_edge.handlers", "kind") for kind in kinds}
        if config.edge_health is not None:
            from superedge.tap.edgehealth import edge_health  # noqa: PLC0415

            health = edge_health(reactor, config.edge_health, watcher)
            health.setServiceParent(root)
            handlers[health.handler.kind] = health.handler
            if ops is not None:
                ops.add_status("edge_health", health.status)
        edge = TunnelEdge(reactor, config.tunnel_edge, watcher, handlers)
        edge.setServiceParent(root)
        if ops is not None:
            ops.add_status("tunnel_edge", edge.status)
            ops.add_readiness(edge.waits_for)
    elif config.edge_health is not None:
        raise ConfigError("edge_health", "", "needs a table tunnel_edge in the same file: it votes over it")
    if config.lite_apiserver is not None:
        from superedge.liteapiserver.service import LiteAPIServer  # noqa: PLC0415

        cache = config.lite_apiserver.cache
        maker = find_plugin(ICacheStorePlugin, cache.store, "lite_apiserver.cache.store")
        store = make_with(
            maker, ICacheStore, "lite_apiserver.cache.store", reactor, str(cache.path), cache.options
        )
        filters = response_filters(config.lite_apiserver)
        server = LiteAPIServer(reactor, config.lite_apiserver, watcher, store, filters)
        server.setServiceParent(root)
        if ops is not None:
            ops.add_status("lite_apiserver", server.status)
            ops.add_readiness(server.waits_for)
            ops.add_remark(server.remark)
        root.more_warnings.append(server.warnings)
    if config.local_dns is not None:
        from superedge.tap.localdns import local_dns  # noqa: PLC0415

        dns = local_dns(reactor, config, config.local_dns, watcher)
        dns.setServiceParent(root)
        if ops is not None:
            ops.add_status("local_dns", dns.status)
            ops.add_readiness(dns.waits_for)
    if config.network_snapshot is not None:
        from superedge.tap.networksnapshot import network_snapshots  # noqa: PLC0415

        snapshots = network_snapshots(reactor, config, config.network_snapshot, watcher)
        snapshots.setServiceParent(root)
        if ops is not None:
            ops.add_status("network_snapshot", snapshots.status)
    if config.application_grid is not None:
        from superedge.tap.applicationgrid import application_grid  # noqa: PLC0415

        grid = application_grid(reactor, config.application_grid, config.kubernetes, watcher)
        grid.setServiceParent(root)
        if ops is not None:
            ops.add_status("application_grid", grid.status)
            ops.add_readiness(grid.waits_for)
    for name, options in config.plugins.items():
        plugin = find_plugin(IServicePlugin, name, "plugins")
        make_with(plugin, IService, f"plugins.{name}", reactor, options).setServiceParent(root)
    return root
