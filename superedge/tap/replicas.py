"""Composes a cloud end that is one of several replicas."""

from __future__ import annotations

import socket
from typing import cast

from twisted.application.service import MultiService

from superedge.config.addresses import TCPAddress, parse_address
from superedge.config.tunnel import ReplicasConfig, TunnelCloudConfig, is_replica_name
from superedge.errors import ConfigError
from superedge.interfaces import IReactor
from superedge.kube.client import KubeClient
from superedge.net.localaddresses import own_addresses
from superedge.net.names import is_address
from superedge.tls.reload import FileWatcher
from superedge.tunnel.cloud import TunnelCloud
from superedge.tunnel.replicas.leaving import Leaving, OrderedServices
from superedge.tunnel.replicas.links import ReplicaLinks
from superedge.tunnel.replicas.registry import KubernetesRegistry, OwnReplica
from superedge.tunnel.replicas.router import Router


class Replicated:
    """The services of a replica."""

    def __init__(
        self,
        reactor: IReactor,
        settings: TunnelCloudConfig,
        own: OwnReplica,
        cloud: TunnelCloud,
        client: KubeClient,
        watcher: FileWatcher,
    ) -> None:
        """Raises IdentityError."""
        assert settings.replicas is not None
        self.own = own
        self.registry = KubernetesRegistry(reactor, client, self.own, cloud.nodes, cloud.superseded)
        links = ReplicaLinks(reactor, cloud, settings, watcher)
        self.tunnel = Router(cloud, self.registry, links)
        self.services = OrderedServices()
        self.registry.setServiceParent(self.services)
        streams = MultiService()
        streams.setServiceParent(self.services)
        for service in (cloud, links):
            service.setServiceParent(streams)
        self.leaving = Leaving(reactor, self.registry, cloud, settings.replicas.drain_delay)
        """The caller adds it to ``services`` last, so that it stops first."""


def own_replica(config: ReplicasConfig, addresses: list[str], namespace: str) -> OwnReplica:
    """This replica. ``addresses`` and ``namespace`` are the defaults for the table's keys.

    Raises ConfigError.
    """
    if config.advertise:
        peer = cast(TCPAddress, parse_address(config.advertise))
    else:
        found = own_addresses()
        if not found:
            raise ConfigError(
                "tunnel_cloud.replicas.advertise", "", "is required: this machine has only loopback addresses"
            )
        peer = TCPAddress(found[0], cast(TCPAddress, parse_address(config.listen)).port)
    addresses = config.addresses or addresses
    if not addresses and is_address(peer.host):
        addresses = [peer.host]
    name = config.name or socket.gethostname().lower()
    if not is_replica_name(name):
        raise ConfigError(
            "tunnel_cloud.replicas.name",
            "",
            f"is required: the host name {name!r} is not a valid replica name",
        )
    return OwnReplica(
        name,
        config.namespace or namespace,
        peer,
        tuple(addresses),
        config.lease_duration,
    )
