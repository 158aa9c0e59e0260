"""Warnings about a configuration that is valid but unlikely to work.

``superedge check`` prints them, and each start logs them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from superedge.config.addresses import UnixAddress
from superedge.config.listening import listening, tables
from superedge.config.localdns import LocalDNSConfig
from superedge.config.networksnapshot import NetworkSnapshotConfig
from superedge.config.root import Config
from superedge.errors import ConfigWarning
from superedge.netsnapshot.ipam.sharing import is_parent_shared
from superedge.netsnapshot.ipam.store import Store
from superedge.tls.identity import load_identity
from superedge.tls.warnings import authority_warnings, pair_warnings, secret_warnings
from superedge.tunnel.names import NameRules, node_of_common_name


def warnings(config: Config, now: datetime) -> Iterator[ConfigWarning]:
    """All warnings about the configuration alone; each begins with the path of its key."""
    there = (config.ops, config.tunnel_cloud, config.tunnel_edge, config.lite_apiserver, config.local_dns)
    if not any((*there, config.network_snapshot, config.application_grid, config.plugins)):
        yield ConfigWarning("no table enables a component: nothing will run")
    for key, table in tables(config):
        yield from _of_files(key, table, now)
    yield from map(ConfigWarning, _of_names(config))
    yield from map(ConfigWarning, _of_use(config))
    for key, address in listening(config):
        if isinstance(address, UnixAddress) and not _writable(Path(address.path).parent):
            yield ConfigWarning(
                f"{key}: a socket cannot be created in {Path(address.path).parent}", temporary=True
            )
    if config.lite_apiserver is not None and config.lite_apiserver.cache.store != "memory":
        path = config.lite_apiserver.cache.path
        if not _can_be_kept(path):
            yield ConfigWarning(
                f"lite_apiserver.cache.path: {path} is not writable: the cache is lost when the process ends",
                temporary=True,
            )
    if config.local_dns is not None and not _can_be_kept(config.local_dns.snapshot.parent):
        yield ConfigWarning(
            f"local_dns.snapshot: {config.local_dns.snapshot}: cannot be written: after a restart without the"
            " cloud the cluster's names do not resolve",
            temporary=True,
        )
    if config.local_dns is not None:
        yield from _of_dns_files(config.local_dns)
    if config.network_snapshot is not None:
        yield from _of_snapshots(config.network_snapshot, config.kubernetes.kubeconfig is not None)


def _of_dns_files(table: LocalDNSConfig) -> Iterator[ConfigWarning]:
    files = [("hosts", path) for path in table.hosts]
    files += [
        (f"forward[{at}].resolv_conf", each.resolv_conf)
        for at, each in enumerate(table.forward)
        if each.resolv_conf is not None
    ]
    for key, path in files:
        try:
            path.read_bytes()
        except OSError as problem:
            text = f"local_dns.{key}: {path}: cannot be read: {problem.strerror}"
            yield ConfigWarning(text, temporary=True)


def _of_snapshots(table: NetworkSnapshotConfig, has_api_server: bool) -> Iterator[ConfigWarning]:
    if not _can_be_kept(table.directory):
        text = (
            f"network_snapshot.directory: {table.directory} is not writable: there will be nothing to restore"
        )
        yield ConfigWarning(text, temporary=True)
    if has_api_server and table.release_interval and table.ipam.exists() and not _is_shared(table.ipam):
        text = (
            f"network_snapshot.ipam: {table.ipam} is not writable, so reservations end by time and "
            "pressure only; as root, run superedge ipam share"
        )
        yield ConfigWarning(text, temporary=True)


def _of_files(key: str, table: msgspec.Struct, now: datetime) -> Iterator[ConfigWarning]:
    certificate, secret = getattr(table, "certificate", None), getattr(table, "key", None)
    if certificate is not None and secret is not None:
        for warning in pair_warnings(certificate, secret, now):
            yield warning.under(key)
    for field in ("ca", "client_ca"):
        for path in getattr(table, field, ()):
            for warning in authority_warnings(path, now):
                yield warning.under(f"{key}.{field}")
    for field in ("proxy_credentials", "kubeconfig"):
        path = getattr(table, field, None)
        if path is not None:
            for warning in secret_warnings(path):
                yield warning.under(f"{key}.{field}")


def _of_names(config: Config) -> Iterator[str]:
    """Warnings about certificates whose common name the other end would refuse."""
    edge, cloud = config.tunnel_edge, config.tunnel_cloud
    if edge is not None:
        name = load_identity(edge.certificate, edge.key).name
        node = node_of_common_name(name)
        if node is None:
            yield (
                f"tunnel_edge.certificate: {edge.certificate}: the common name {name!r} is not a node name:"
                " the cloud end accepts NAME or system:node:NAME with lower-case letters, digits, - and ."
            )
        elif NameRules().is_reserved(node):
            yield (
                f"tunnel_edge.certificate: {edge.certificate}: {node!r} is not allowed as a node name: it is"
                " an address or a name within the cluster"
            )
    if cloud is not None and cloud.replicas is not None:
        replicas = cloud.replicas
        certificate, key = replicas.certificate or cloud.certificate, replicas.key or cloud.key
        name = load_identity(certificate, key).name
        if name not in replicas.names:
            yield (
                f"tunnel_cloud.replicas.names: {', '.join(replicas.names)}: the common name of {certificate},"
                f" {name!r}, is not among them: other replicas will refuse it"
            )


def _of_use(config: Config) -> Iterator[str]:
    edge, cloud = config.tunnel_edge, config.tunnel_cloud
    for rule in edge.allow if edge is not None else ():
        if rule in ("*:*", "0.0.0.0/0:*", "[::/0]:*"):
            yield f"tunnel_edge.allow: {rule!r} lets the cloud reach every address that this node reaches"
    if edge is not None and edge.proxy_credentials is not None and not edge.proxy:
        yield "tunnel_edge.proxy_credentials: has no effect: tunnel_edge.proxy is not set"
    if cloud is not None and cloud.replicas is not None and cloud.registry == "local":
        yield 'tunnel_cloud.replicas: has no effect without registry = "kubernetes"'


def _can_be_kept(directory: Path) -> bool:
    """Whether files can be created in the directory, or the directory itself can be created."""
    for path in (directory, *directory.parents):
        if os.path.lexists(path):
            return _writable(path)
    return False


def _is_shared(ipam: Path) -> bool:
    """Whether this process may end reservations, also those of networks to come."""
    try:
        networks = [ipam / name for name in Store(str(ipam)).networks()]
        return _writable(ipam) or (is_parent_shared(str(ipam)) and all(map(_writable, networks)))
    except OSError:
        return False


def _writable(directory: Path) -> bool:
    return directory.is_dir() and os.access(directory, os.W_OK | os.X_OK)
