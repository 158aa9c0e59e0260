"""Warnings about a configuration that is valid but unlikely to work.

``superedge check`` prints them, and the log has them at each start.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from superedge.config.addresses import UnixAddress
from superedge.config.listening import listening, tables
from superedge.config.root import Config
from superedge.errors import ConfigWarning
from superedge.tls.identity import load_identity
from superedge.tls.warnings import authority_warnings, pair_warnings, secret_warnings
from superedge.tunnel.names import NameRules, node_of_common_name


def warnings(config: Config, now: datetime) -> Iterator[ConfigWarning]:
    """Each begins with the key's path."""
    there = (config.ops, config.tunnel_cloud, config.tunnel_edge, config.lite_apiserver, config.local_dns)
    if not any((*there, config.plugins)):
        yield ConfigWarning("no table switches a component on: nothing will run")
    for key, table in tables(config):
        yield from _of_files(key, table, now)
    yield from map(ConfigWarning, _of_names(config))
    yield from map(ConfigWarning, _of_use(config))
    for key, address in listening(config):
        if isinstance(address, UnixAddress) and not _writable(Path(address.path).parent):
            yield ConfigWarning(
                f"{key}: {Path(address.path).parent}: a socket cannot be created there", passing=True
            )
    if config.lite_apiserver is not None and config.lite_apiserver.cache.store != "memory":
        path = config.lite_apiserver.cache.path
        if not _can_be_kept(path):
            yield ConfigWarning(
                f"lite_apiserver.cache.path: {path}: cannot be written: the cache is lost with the process",
                passing=True,
            )
    if config.local_dns is not None and not _can_be_kept(config.local_dns.snapshot.parent):
        yield ConfigWarning(
            f"local_dns.snapshot: {config.local_dns.snapshot}: cannot be written: after a restart without the"
            " cloud the cluster's names do not resolve",
            passing=True,
        )


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
    """Of certificates that the other side would refuse for their common name."""
    edge, cloud = config.tunnel_edge, config.tunnel_cloud
    if edge is not None:
        name = load_identity(edge.certificate, edge.key).name
        node = node_of_common_name(name)
        if node is None:
            yield (
                f"tunnel_edge.certificate: {edge.certificate}: the common name {name!r} is no node's: the"
                " cloud end takes NAME or system:node:NAME, lower case letters, digits, - and ."
            )
        elif NameRules().reserves(node):
            yield (
                f"tunnel_edge.certificate: {edge.certificate}: no node may be called {node!r}: it is an"
                " address or a name of the cluster"
            )
    if cloud is not None and cloud.replicas is not None:
        replicas = cloud.replicas
        certificate, key = replicas.certificate or cloud.certificate, replicas.key or cloud.key
        name = load_identity(certificate, key).name
        if name not in replicas.names:
            yield (
                f"tunnel_cloud.replicas.names: {', '.join(replicas.names)}: the common name of {certificate},"
                f" {name!r}, is not among them: other replicas refuse it"
            )


def _of_use(config: Config) -> Iterator[str]:
    edge, cloud = config.tunnel_edge, config.tunnel_cloud
    for rule in edge.allow if edge is not None else ():
        if rule in ("*:*", "0.0.0.0/0:*", "[::/0]:*"):
            yield f"tunnel_edge.allow: {rule!r} lets the cloud reach every address that this node reaches"
    if edge is not None and edge.proxy_credentials is not None and not edge.proxy:
        yield "tunnel_edge.proxy_credentials: is not used: no proxy is named"
    if cloud is not None and cloud.replicas is not None and cloud.registry == "local":
        yield 'tunnel_cloud.replicas: is not used: it needs registry = "kubernetes"'


def _can_be_kept(directory: Path) -> bool:
    """Whether files can be made in the directory, which itself may have to be made."""
    for path in (directory, *directory.parents):
        if os.path.lexists(path):
            return _writable(path)
    return False


def _writable(directory: Path) -> bool:
    return directory.is_dir() and os.access(directory, os.W_OK | os.X_OK)
