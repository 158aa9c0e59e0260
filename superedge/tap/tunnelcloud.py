"""Composes the tunnel's cloud end: sessions, listeners and DNS, alone or as one of several replicas."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol

from twisted.application.service import IService, MultiService

from superedge.config.health import EdgeAdmissionConfig
from superedge.config.listeners import (
    HTTPListenerConfig,
    HTTPSListenerConfig,
    ListenerConfig,
    TCPListenerConfig,
    TLSListenerConfig,
)
from superedge.config.root import Config
from superedge.interfaces import IReactor, ITunnelListener
from superedge.kube.access import Access, load_access
from superedge.kube.client import NODES, KubeClient
from superedge.kube.nodes import Node, NodeIndex, read_node
from superedge.kube.reflector import Key, Reflector
from superedge.net.localaddresses import own_addresses
from superedge.plugin import find_plugin, make_with
from superedge.tap.nodestreams import SessionStreams
from superedge.tap.nodetrust import name_rules, ranges, report
from superedge.tap.replicas import Replicated, own_replica
from superedge.tls.denied import DenyList
from superedge.tls.reload import FileWatcher
from superedge.tunnel.addressrecords import AddressRecords
from superedge.tunnel.cloud import Tunnel, TunnelCloud
from superedge.tunnel.directory import NodeDirectory
from superedge.tunnel.listeners.base import Listener
from superedge.tunnel.names import NameRules
from superedge.tunnel.replicas.leaving import Draining, OrderedServices
from superedge.tunnel.replicas.registry import OwnReplica

if TYPE_CHECKING:
    from superedge.health.cloud.service import EdgeAdmission


class _Synced(Protocol):
    """A collection that must be read once before callers can be served."""

    @property
    def synced(self) -> bool:
        """Whether it has been read."""


class _Kubernetes(NamedTuple):
    client: KubeClient
    namespace: str
    access: Access


class TunnelBranch:
    """``services`` start in their order, and stop in reverse."""

    def __init__(self, reactor: IReactor, config: Config, watcher: FileWatcher) -> None:
        """Raises SuperEdgeError."""
        settings = config.tunnel_cloud
        assert settings is not None
        self._reactor = reactor
        self._config = config
        self._watcher = watcher
        addresses = config.tunnel_dns.addresses if config.tunnel_dns is not None else []
        own: OwnReplica | None = None
        if settings.replicas is not None and settings.registry == "kubernetes":
            own = own_replica(settings.replicas, addresses, self._kubernetes.namespace)
        asks = own is not None or settings.node_objects or config.edge_admission is not None
        names = name_rules(settings, self._kubernetes.access if asks else None)
        self._denied: DenyList | None = None
        if settings.denied_certificates is not None:
            self._denied = DenyList(settings.denied_certificates)
            watcher.watch([settings.denied_certificates], self._denied.reload)
        replica = "" if own is None else own.name
        cloud = TunnelCloud(reactor, settings, watcher, replica, names, self._denied)
        self._cloud = cloud
        self._tunnel: Tunnel = cloud
        self.services: MultiService = OrderedServices()
        self._index: NodeIndex | None = None
        self._replicated: Replicated | None = None
        self._followed: list[tuple[str, _Synced]] = []
        if own is None:
            cloud.setServiceParent(self.services)
            self._directory = NodeDirectory(
                addresses or own_addresses(), cloud.nodes, None, self._nodes(), names
            )
        else:
            replicated = Replicated(reactor, settings, own, cloud, self._kubernetes.client, watcher)
            self._replicated = replicated
            self._followed.append(("the other replicas' records", replicated.registry))
            self._tunnel, self.services = replicated.tunnel, replicated.services
            self._directory = NodeDirectory(
                replicated.own.addresses, cloud.nodes, replicated.registry, self._nodes(), names
            )
        listeners = [self._listener(listener) for listener in settings.listeners]
        for each in listeners:
            each.setServiceParent(self.services)
        for kind, options in settings.plugin_listeners.items():
            plugin = find_plugin(ITunnelListener, kind, "tunnel_cloud.plugin_listeners", "kind")
            key = f"tunnel_cloud.plugin_listeners.{kind}"
            made = make_with(plugin, IService, key, reactor, options, self._tunnel)
            made.setServiceParent(self.services)
        if config.tunnel_dns is not None:
            self._dns()
        if self._replicated is None:
            Draining(cloud, [each.draining for each in listeners]).setServiceParent(self.services)
        self.admission: EdgeAdmission | None = None
        if config.edge_admission is not None:  # its streams would keep the nodes' sessions from draining
            self.admission = self._edge_admission(config.edge_admission, cloud, names)
            self.admission.setServiceParent(self.services)
        if self._replicated is not None:
            self._replicated.leaving.setServiceParent(self.services)

    @cached_property
    def _kubernetes(self) -> _Kubernetes:
        access = load_access(self._config.kubernetes.kubeconfig)
        self._watcher.watch_context(access.tls)
        return _Kubernetes(KubeClient(self._reactor, access), access.namespace, access)

    def _nodes(self) -> NodeIndex | None:
        """The index of Node objects, if they are used."""
        settings = self._config.tunnel_cloud
        if settings is None or not settings.node_objects:
            return None
        client, namespace, access = self._kubernetes
        index = NodeIndex(ranges(settings, access), report, lambda node: records.changed(node))  # noqa: PLW0108 - made below

        def changed(key: Key, node: Node | None) -> None:
            if node is None:
                index.remove(key.name)
                self._directory.changed()
            elif index.put(node):
                self._directory.changed()

        reflector = Reflector(self._reactor, client, NODES.path(), read_node, changed)
        if settings.replicas is not None and settings.replicas.namespace:
            namespace = settings.replicas.namespace
        records = AddressRecords(self._reactor, client, namespace, index, reflector.when_synced)
        for service in (reflector, records):
            service.setServiceParent(self.services)
        self._followed += [("the cluster's nodes", reflector), ("the records of their addresses", records)]
        self._index = index
        return index

    def _edge_admission(
        self, settings: EdgeAdmissionConfig, cloud: TunnelCloud, names: NameRules
    ) -> EdgeAdmission:
        from superedge.tap.edgehealth import Voters, edge_admission  # noqa: PLC0415

        registry = None if self._replicated is None else self._replicated.registry
        client, namespace, _ = self._kubernetes
        streams = SessionStreams(self._tunnel, cloud.nodes, registry)
        voters = Voters(names, self._denied)
        return edge_admission(self._reactor, settings, client, namespace, streams, self._watcher, voters)

    def waits_for(self) -> str:
        """For ``/readyz``: what it waits for. Until then it may not know a node, and refuse its callers."""
        return " and ".join(what for what, part in self._followed if not part.synced)

    def status(self) -> dict[str, object]:
        """For the status page: current and former nodes of this process, and the nodes of each replica."""
        found: dict[str, object] = {
            "connected": self._directory.held_here(),
            "nodes": self._cloud.node_status(),
        }
        if self._replicated is not None:
            registry = self._replicated.registry
            found["replica"] = self._replicated.own.name
            found["draining"] = registry.draining
            found["replicas"] = [
                {
                    "name": replica.name,
                    "peer": str(replica.peer),
                    "addresses": replica.addresses,
                    "draining": replica.draining,
                    "nodes": registry.count(replica.name),
                }
                for replica in registry.replicas()
            ]
        return found

    def _dns(self) -> None:
        from superedge.dns.server import DNSServer  # noqa: PLC0415

        dns = self._config.tunnel_dns
        assert dns is not None
        domain = self._config.tunnel_cloud.cluster_domain if self._config.tunnel_cloud is not None else ""
        DNSServer(self._reactor, dns, self._directory, domain).setServiceParent(self.services)
        if dns.hosts_configmap:
            from superedge.dns.hosts import HostsConfigMap  # noqa: PLC0415

            namespace, _, name = dns.hosts_configmap.partition("/")
            replicated = self._replicated
            hosts = HostsConfigMap(
                self._reactor,
                self._kubernetes.client,
                namespace,
                name,
                self._directory.entries,
                replicated.registry.is_first if replicated is not None else lambda: True,
            )
            self._directory.on_change(hosts.changed)
            hosts.setServiceParent(self.services)

    def _listener(self, config: ListenerConfig) -> Listener:
        reactor, tunnel, watcher = self._reactor, self._tunnel, self._watcher
        if isinstance(config, TCPListenerConfig):
            from superedge.tunnel.listeners.tcp import TCPListener  # noqa: PLC0415

            return TCPListener(reactor, tunnel, config)
        if isinstance(config, TLSListenerConfig):
            from superedge.tunnel.listeners.tls import TLSListener  # noqa: PLC0415

            return TLSListener(reactor, tunnel, config)
        if isinstance(config, HTTPListenerConfig | HTTPSListenerConfig):
            from superedge.tunnel.listeners.http import HTTPListener, HTTPSListener  # noqa: PLC0415

            if isinstance(config, HTTPSListenerConfig):
                return HTTPSListener(reactor, tunnel, config, watcher, self._denied)
            return HTTPListener(reactor, tunnel, config)
        from superedge.tunnel.listeners.connect import ConnectListener  # noqa: PLC0415

        return ConnectListener(reactor, tunnel, config, watcher, self._directory, self._denied)
