"""The node-local DNS server: its API server, and the links that installed packages bring."""

from __future__ import annotations

from superedge.config.localdns import LocalDNSConfig
from superedge.config.root import Config
from superedge.dns.local import LINKS, LocalDNS
from superedge.interfaces import IReactor, IResolverPlugin
from superedge.kube.access import load_access
from superedge.kube.client import KubeClient
from superedge.plugin import find_plugin
from superedge.tls.reload import FileWatcher


def local_dns(reactor: IReactor, config: Config, settings: LocalDNSConfig, watcher: FileWatcher) -> LocalDNS:
    """Not yet started. Raises SuperEdgeError."""
    access = load_access(config.kubernetes.kubeconfig)
    watcher.watch_context(access.tls)
    plugins = {
        name: find_plugin(IResolverPlugin, name, "local_dns.chain")
        for name in settings.chain
        if name not in LINKS
    }
    server = LocalDNS(reactor, settings, KubeClient(reactor, access), plugins)
    watcher.watch(settings.hosts, server.reload_hosts)
    files = [each.resolv_conf for each in settings.forward if each.resolv_conf is not None]
    watcher.watch(files, server.reload_upstreams)
    return server
