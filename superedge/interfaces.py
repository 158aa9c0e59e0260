"""The interfaces between layers and towards plugins.

A plugin is an object in a module of the ``twisted.plugins`` package that provides one of the
``I...Plugin`` interfaces here; the configuration names it by its ``name``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.application.service import IService
from twisted.internet.interfaces import (
    IReactorCore,
    IReactorFDSet,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorThreads,
    IReactorTime,
    IReactorUDP,
    IReactorUNIX,
    ITransport,
)
from twisted.plugin import IPlugin
from zope.interface import Attribute, Interface


class IReactor(
    IReactorCore,
    IReactorTime,
    IReactorTCP,
    IReactorUDP,
    IReactorUNIX,
    IReactorFDSet,
    IReactorThreads,
    IReactorPluggableNameResolver,
):
    """What SuperEdge asks of a reactor: Linux, file descriptors, time, TCP, UDP, Unix sockets, names."""


# -- cache stores --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """One durable record: ``kind`` groups records ("object", "view", ...), ``key`` is unique in its kind.

    ``key`` is a tuple of text parts, outermost first, so that a store can lay records out in a tree that
    a person can read; ``value`` is opaque bytes.
    """

    kind: str
    key: tuple[str, ...]
    value: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """Put (``value`` is bytes) or delete (``value`` is None) one record."""

    kind: str
    key: tuple[str, ...]
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a store holds: every sound record, and a sentence for each one that is damaged."""

    entries: Sequence[Entry]
    faults: Sequence[str]


class ICacheStore(Interface):
    """Durable records of lite-apiserver's cache.

    ``apply`` is one atomic batch: after a crash at any instant a later ``load`` sees all of a batch or
    nothing of it, and at most the last batch that was not acknowledged is lost.
    """

    async def load() -> Sequence[Entry]:
        """Read every whole record. Corrupt ones are dropped alone, logged and counted.

        From a medium that cannot be written to, what is there is read all the same. Raises OSError.
        """

    async def apply(changes: Sequence[Change]) -> None:
        """Make the changes durable, all or none. Raises OSError when the medium refuses them."""

    async def check() -> None:
        """Whether what was made durable is still there, as far as that is cheap to tell; called every 2 s.

        Raises `superedge.errors.StoreLost` when it is not, as when the directory was removed: then files are
        released, ``load`` and ``apply`` begin anew, and the store is given everything again.
        """

    async def close() -> None:
        """Release files; nothing may be called afterwards."""


class ICacheStorePlugin(IPlugin):
    """Makes a cache store; found by ``name``, e.g. ``file``."""

    name: str = Attribute("The name used in lite_apiserver.cache.store.")

    def create(reactor: IReactor, path: str, options: Mapping[str, Any]) -> ICacheStore:
        """Return a store under the directory ``path``."""

    def inspect(path: str, options: Mapping[str, Any]) -> Inspection:
        """Read a store without changing it, blocking, whether or not a server has it open.

        Raises OSError when there is none.
        """


# -- tunnel --------------------------------------------------------------------------------------


class IStreamHandler(IPlugin):
    """Serves one kind of tunnel stream on the edge; ``kind`` is what the prologue names, e.g. ``tcp``."""

    kind: str = Attribute("The prologue's kind.")

    async def connect(reactor: IReactor, request: Mapping[str, Any], timeout: float) -> ITransport:
        """Return the connected, paused transport that the stream is spliced to."""


class ITunnelListener(IPlugin):
    """Makes a cloud listener; ``kind`` is the listener table's kind, e.g. ``connect``."""

    kind: str = Attribute("The table's name in tunnel_cloud.plugin_listeners.")

    def create(reactor: IReactor, options: Mapping[str, Any], tunnel: Any) -> IService:
        """Return the service that listens.

        ``tunnel.open(node, address, timeout=..., kind="tcp")`` gives streams: paused transports. ``options``
        is the table ``tunnel_cloud.plugin_listeners.KIND``.
        """


class INodeStreams(Interface):
    """The tunnel's cloud end as other components see it: streams to nodes, whichever replica holds them."""

    def sessions() -> Mapping[str, int]:
        """Nodes that are connected to any replica, and a number that is another for each new session."""

    def on_change(callback: Callable[[], None]) -> None:
        """Call back after `sessions` may have changed."""

    async def open(node: str, kind: str, timeout: float) -> ITransport:
        """A paused stream, connected by the node's handler of ``kind``. Raises SuperEdgeError."""


# -- edge health ---------------------------------------------------------------------------------


class IHealthChecker(Interface):
    """Checks peers in one way."""

    async def check(host: str, port: int, timeout: float) -> None:
        """Return if what listens there is well. Raises SuperEdgeError that says what it is not.

        It may take more than ``timeout`` seconds by so much as its caller's own clock does: it is cancelled.
        """

    def close() -> None:
        """Drop what is kept between checks."""


class IHealthProbe(IPlugin):
    """A way to check whether a node is well; ``kind`` is what a table of edge_health.probes names."""

    kind: str = Attribute("The name used in edge_health.probes.")

    def create(reactor: IReactor, options: Mapping[str, Any]) -> IHealthChecker:
        """Return a checker. ``options`` is the table's own table ``options``. Raises SuperEdgeError."""


# -- lite-apiserver ------------------------------------------------------------------------------


class IResponseFilter(IPlugin):
    """Sees decoded objects of chosen resources on get, list and watch, online and offline."""

    name: str = Attribute("The name used in lite_apiserver.filters.")

    def resources() -> Sequence[tuple[str, str]]:
        """(group, resource) pairs that the filter wants to see."""

    def filter(group: str, resource: str, item: dict[str, Any]) -> dict[str, Any] | None:
        """Return the object, changed or not, or None to hide it from the client.

        ``item`` is decoded JSON and the filter's to change; its resourceVersion must stay. What is raised is
        logged and makes the one answer 500.
        """


# -- whole services ------------------------------------------------------------------------------


class IServicePlugin(IPlugin):
    """Adds a whole service to the tree when the configuration has a section of its name."""

    name: str = Attribute("The section's name below [plugins], e.g. plugins.mine.")

    def create(reactor: IReactor, options: Mapping[str, Any]) -> IService:
        """Return the service for the section's options."""
