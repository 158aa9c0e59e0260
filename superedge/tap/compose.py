"""From a configuration to a tree of services: one branch a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from twisted.application.service import MultiService

from superedge.config.addresses import TCPAddress, parse_address
from superedge.config.liteapiserver import LiteAPIServerConfig
from superedge.config.root import Config
from superedge.config.tunnel import (
    HttpListenerConfig,
    HttpsListenerConfig,
    ListenerConfig,
    TcpListenerConfig,
    TlsListenerConfig,
)
from superedge.errors import ConfigError
from superedge.interfaces import (
    ICacheStorePlugin,
    IReactor,
    IResponseFilter,
    IServicePlugin,
    IStreamHandler,
    ITunnelListener,
)
from superedge.plugin import find_plugin
from superedge.tls.reload import FileWatcher

if TYPE_CHECKING:
    from superedge.ops.http import OpsServer
    from superedge.tap.replicas import Replicated
    from superedge.tunnel.cloud import Tunnel
    from superedge.tunnel.listeners.base import Listener


def installed_reactor() -> IReactor:
    """The reactor that twistd chose. Asked for late: importing it chooses one."""
    from twisted.internet import reactor as installed  # noqa: PLC0415, TID251

    return cast(IReactor, installed)


def compose(config: Config, reactor: IReactor | None = None) -> MultiService:
    """The services that the configuration's tables ask for, not yet started. Raises SuperEdgeError.

    What a table does not ask for is not imported.
    """
    reactor = reactor or installed_reactor()
    root = MultiService()
    watcher = FileWatcher(reactor)
    watcher.setServiceParent(root)
    ops: OpsServer | None = None
    if config.ops is not None:
        from superedge.ops.http import OpsServer  # noqa: PLC0415

        ops = OpsServer(reactor, config.ops)
        ops.setServiceParent(root)
    if config.tunnel_cloud is not None:
        _tunnel_cloud(reactor, config, watcher).setServiceParent(root)
    elif config.tunnel_dns is not None:
        raise ConfigError("tunnel_dns", "", "needs a table tunnel_cloud in the same file: it names its nodes")
    if config.tunnel_edge is not None:
        from superedge.tunnel.edge import TunnelEdge  # noqa: PLC0415

        kinds = config.tunnel_edge.handlers
        handlers = {kind: find_plugin(IStreamHandler, kind, "kind") for kind in kinds}
        TunnelEdge(reactor, config.tunnel_edge, watcher, handlers).setServiceParent(root)
    if config.lite_apiserver is not None:
        from superedge.liteapiserver.service import LiteAPIServer  # noqa: PLC0415

        cache = config.lite_apiserver.cache
        maker = find_plugin(ICacheStorePlugin, cache.store)
        store = maker.create(reactor, str(cache.path), cache.options)
        filters = _response_filters(config.lite_apiserver)
        server = LiteAPIServer(reactor, config.lite_apiserver, watcher, store, filters)
        server.setServiceParent(root)
        if ops is not None:
            ops.add_status("lite_apiserver", server.status)
    for name, options in config.plugins.items():
        find_plugin(IServicePlugin, name).create(reactor, options).setServiceParent(root)
    return root


def _response_filters(config: LiteAPIServerConfig) -> list[IResponseFilter]:
    filters = [find_plugin(IResponseFilter, name) for name in config.filters]
    if config.advertise:
        from superedge.liteapiserver.kubernetes import KubernetesEndpoints  # noqa: PLC0415

        filters.append(KubernetesEndpoints(cast(TCPAddress, parse_address(config.advertise))))
    return filters


def _tunnel_cloud(reactor: IReactor, config: Config, watcher: FileWatcher) -> MultiService:
    from superedge.tunnel.cloud import TunnelCloud  # noqa: PLC0415

    settings, dns = config.tunnel_cloud, config.tunnel_dns
    assert settings is not None
    cloud = TunnelCloud(reactor, settings, watcher)
    tunnel: Tunnel = cloud
    branch = MultiService()
    replicated: Replicated | None = None
    if settings.registry == "local":
        cloud.setServiceParent(branch)
    else:
        from superedge.tap.replicas import Replicated  # noqa: PLC0415

        replicated = Replicated(reactor, config, cloud, watcher)
        tunnel, branch = replicated.tunnel, replicated.services
    for listener in settings.listeners:
        _listener(reactor, tunnel, listener, watcher).setServiceParent(branch)
    for kind, options in settings.plugin_listeners.items():
        plugin = find_plugin(ITunnelListener, kind, "kind")
        plugin.create(reactor, options, tunnel).setServiceParent(branch)
    if dns is not None:
        from superedge.dns.server import DNSServer  # noqa: PLC0415

        DNSServer(reactor, dns, tunnel.knows).setServiceParent(branch)
    if replicated is not None:
        replicated.leaving.setServiceParent(branch)
    return branch


def _listener(reactor: IReactor, tunnel: Tunnel, config: ListenerConfig, watcher: FileWatcher) -> Listener:
    if isinstance(config, TcpListenerConfig):
        from superedge.tunnel.listeners.tcp import TcpListener  # noqa: PLC0415

        return TcpListener(reactor, tunnel, config)
    if isinstance(config, TlsListenerConfig):
        from superedge.tunnel.listeners.tls import TlsListener  # noqa: PLC0415

        return TlsListener(reactor, tunnel, config)
    if isinstance(config, HttpListenerConfig | HttpsListenerConfig):
        from superedge.tunnel.listeners.http import HttpListener, HttpsListener  # noqa: PLC0415

        if isinstance(config, HttpsListenerConfig):
            return HttpsListener(reactor, tunnel, config, watcher)
        return HttpListener(reactor, tunnel, config)
    from superedge.tunnel.listeners.connect import ConnectListener  # noqa: PLC0415

    return ConnectListener(reactor, tunnel, config, watcher)
