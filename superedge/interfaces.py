"""The interfaces between layers, and those of plugins.

A plugin is an object in a module of the ``twisted.plugins`` package that provides one of the
``I...Plugin`` interfaces here; the configuration names it by its ``name``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
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
    """The reactor interfaces that SuperEdge uses: time, TCP, UDP, Unix sockets, file descriptors, names."""


# -- cache stores --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """One durable record: ``kind`` groups records ("object", "view", ...), ``key`` is unique in its kind.

    ``key`` is a tuple of texts, outermost first, so that a store can arrange records in a readable tree;
    ``value`` is opaque bytes.
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
    """The content of a store: every intact record, and a sentence for each damaged one."""

    entries: Sequence[Entry]
    faults: Sequence[str]


class ICacheStore(Interface):
    """Durable records of lite-apiserver's cache.

    ``apply`` is atomic: after a crash at any instant a later ``load`` sees all of a batch or nothing of it,
    and no acknowledged batch is lost.
    """

    async def load() -> Sequence[Entry]:
        """Read every intact record. Damaged ones are dropped, logged and counted.

        A medium that cannot be written is read all the same. Raises OSError.
        """

    async def apply(changes: Sequence[Change]) -> None:
        """Make the changes durable, all or none. Raises OSError."""

    async def check() -> None:
        """Check, as far as that is cheap, that the durable records still exist; called every 2 s.

        Raises `superedge.errors.StoreLost` when they do not, for example after the directory was removed. The
        store then releases its files, the next ``load`` or ``apply`` opens it again, and everything is
        applied again.
        """

    async def close() -> None:
        """Release the files; no other method is called afterwards."""


class ICacheStorePlugin(IPlugin):
    """Makes a cache store; its ``name``, e.g. ``file``, selects it."""

    name: str = Attribute("The name used in lite_apiserver.cache.store.")

    def create(reactor: IReactor, path: str, options: Mapping[str, Any]) -> ICacheStore:
        """Return a store under the directory ``path``."""

    def inspect(path: str, options: Mapping[str, Any]) -> Inspection:
        """Read a store without changing it, blocking, whether or not a server has it open.

        Raises OSError when there is none.
        """


# -- tunnel --------------------------------------------------------------------------------------


class IStreamHandler(IPlugin):
    """Serves one kind of tunnel stream on the edge; the prologue names ``kind``, e.g. ``tcp``."""

    kind: str = Attribute("The prologue's kind.")

    async def connect(reactor: IReactor, request: Mapping[str, Any], timeout: float) -> ITransport:
        """Return the connected, paused transport to splice the stream to.

        A SuperEdgeError refuses the stream; the caller gets its text.
        """


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

    async def check(host: str, port: int, timeout: float) -> str | None:
        """Return if what listens there is well: the node's name if it says so. Raises SuperEdgeError.

        The name tells a peer from another that has its address now; None is taken for the peer.
        It may take more than ``timeout`` seconds by so much as its caller's own clock does: it is cancelled.
        """

    def close() -> None:
        """Drop what is kept between checks."""


class IHealthProbe(IPlugin):
    """A way to check whether a node is well; ``kind`` is what a table of edge_health.probes names."""

    kind: str = Attribute("The name used in edge_health.probes.")

    def create(reactor: IReactor, options: Mapping[str, Any]) -> IHealthChecker:
        """Return a checker. ``options`` is the table's own table ``options``. Raises SuperEdgeError."""


# -- DNS ------------------------------------------------------------------------------------------


class Question(msgspec.Struct, frozen=True):
    """What a client asks: ``name`` is in wire form, lower case, ``section`` the question as it was sent.

    ``size`` is the client's UDP payload size, 0 without EDNS; ``flags`` are the header's, 16 bits;
    ``edns_version`` and ``dnssec_ok`` are EDNS's version and DO bit.
    """

    name: bytes
    kind: int
    qclass: int
    section: bytes
    flags: int = 0x0100
    size: int = 0
    dnssec_ok: bool = False
    edns_version: int = 0


class Answer(msgspec.Struct, frozen=True):
    """What is said to a question: the message behind its question section.

    ``code`` is the RCODE, ``counts`` the records in the answer, authority and additional sections, and
    ``records`` these records packed; they may point into the question, which has the same length in every
    spelling. ``until`` is the reactor's time up to which the same question may be answered with the same
    bytes without asking again, 0 for not at all. ``source`` is the resolver's name, for metrics.
    """

    code: int
    counts: tuple[int, int, int] = (0, 0, 0)
    records: bytes = b""
    authoritative: bool = False
    authentic: bool = False
    truncated: bool = False
    until: float = 0.0
    source: str = ""


class IResolver(Interface):
    """One link of the chain that answers questions."""

    async def resolve(question: Question) -> Answer:
        """Answer, or ask the next link. What is raised is logged and answered SERVFAIL."""


class IResolverPlugin(IPlugin):
    """Makes a resolver; found by ``name``, which stands in local_dns.chain."""

    name: str = Attribute("The name used in local_dns.chain.")

    def create(reactor: IReactor, options: Mapping[str, Any], following: IResolver) -> IResolver:
        """Return a resolver that asks ``following`` what it does not answer itself.

        ``options`` is the table ``local_dns.resolvers.NAME``. `superedge.dns.packing` builds answers.
        """


# -- lite-apiserver ------------------------------------------------------------------------------


class IResponseFilter(IPlugin):
    """Changes or hides objects of chosen resources in get, list and watch, online and offline."""

    name: str = Attribute("The name used in lite_apiserver.filters.")

    def resources() -> Sequence[tuple[str, str]]:
        """The (group, resource) pairs to filter."""

    def filter(group: str, resource: str, item: dict[str, Any]) -> dict[str, Any] | None:
        """Return the object, changed or not, or None to hide it from the client.

        ``item`` is decoded JSON that the filter may change, except for its resourceVersion. An exception is
        logged and makes this response a 500.
        """


class IEncodedResponseFilter(IResponseFilter):
    """A response filter that reads objects as they are encoded, so that clients may have protobuf, too.

    It hides no object and changes no metadata. Therefore Tables and metadata alone pass unfiltered. Its
    ``filter`` is not called.
    """

    def filter_encoded(group: str, resource: str, media_type: str, raw: bytes) -> bytes:
        """Return one object, the same ``raw`` if nothing changes.

        ``media_type`` is ``application/json``, or ``application/vnd.kubernetes.protobuf`` for the object's
        message without envelope. An object in a list has no kind and apiVersion. Exceptions are handled as
        those of ``filter``.
        """


@dataclass(frozen=True, slots=True)
class Followed:
    """A collection that a response filter follows: the objects of a resource that the selectors select."""

    group: str
    version: str
    resource: str
    labels: str = ""
    """A label selector."""
    fields: str = ""
    """A field selector."""
    metadata_only: bool = False
    """Whether the filter needs metadata alone, which is less to read."""


class IFollowingFilter(IResponseFilter):
    """A response filter whose result depends on other objects, too, which are read for it.

    No filtered response is given before all of them are known. They are read as the identity that
    lite_apiserver.filter_identity names, and kept in the cache for the time without the cloud.
    """

    def follows() -> Sequence[Followed]:
        """What to read."""

    def followed(what: Followed, namespace: str, name: str, item: dict[str, Any] | None) -> bool:
        """Take an object that is there or changed, or None for one that is gone.

        Return whether filtered objects may look different from now on. They are then filtered again, and
        open watches are told those that do look different, with their own resourceVersions.
        """


class IResponseFilterMaker(IPlugin):
    """Makes a response filter that has options; found by ``name``, as filters are."""

    name: str = Attribute("The name used in lite_apiserver.filters.")

    def create(options: Mapping[str, Any]) -> IResponseFilter:
        """Return a filter for the options in the table lite_apiserver.filter_options.NAME.

        Raises SuperEdgeError.
        """


# -- whole services ------------------------------------------------------------------------------


class IServicePlugin(IPlugin):
    """Adds a service when the configuration has a section with its name."""

    name: str = Attribute("The section's name below [plugins], e.g. plugins.mine.")

    def create(reactor: IReactor, options: Mapping[str, Any]) -> IService:
        """Return the service for the section's options."""
