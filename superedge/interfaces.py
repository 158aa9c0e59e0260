"""The interfaces between layers and towards plugins.

A plugin is an object in a module of the ``twisted.plugins`` package that provides one of the
``I...Plugin`` interfaces here; the configuration names it by its ``name``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


# -- DNS ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Question:
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


@dataclass(frozen=True, slots=True)
class Answer:
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
