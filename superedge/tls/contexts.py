"""TLS contexts built from files, replaced whole when the files change.

A connection keeps the context it was made with; the next one gets the new. A source knows the connections of
its contexts, and ends those whose peer is not to be trusted any more.
"""

from __future__ import annotations

import contextlib
import random
import ssl
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from superedge.errors import IdentityError
from superedge.tls.identity import load_certificates, load_identity
from superedge.tls.metrics import CERTIFICATE_EXPIRY
from superedge.tls.peers import Peers, SecureConnection
from superedge.tls.x509 import Certificate

ClientCertificate = Literal["required", "optional", "none"]

SPREAD = 30.0
"""Seconds over which those who dialled one server leave it after its certificate has expired."""


class _Source:
    """Builds a context at once and again on ``reload`` when a file has changed."""

    def __init__(self, files: Sequence[Path], peers: Peers) -> None:
        self.files = tuple(files)
        self._peers = peers
        self._stamp = self._read_stamp()
        self._context = self._build()

    def current(self) -> ssl.SSLContext:
        """The context for the next connection."""
        return self._context

    def reload(self) -> bool:
        """Take changed files into use; whether there was a change.

        Connections end whose peer is verified by a CA that the files do not hold any more. Raises
        IdentityError when the files are not usable; the context before stays in use, and the next call tries
        again.
        """
        stamp = self._read_stamp()
        if stamp == self._stamp:
            return False
        self._context = self._build()
        self._stamp = stamp
        return True

    def admit(self, connection: SecureConnection) -> str:
        """Note a connection whose handshake is done; why its peer is not trusted, empty when it is."""
        return self._peers.admit(connection)

    def end_expired(self) -> None:
        """End the connections whose peer's certificate has expired; call it every few seconds."""
        self._peers.end_expired()

    def _build(self) -> ssl.SSLContext:
        raise NotImplementedError

    def _read_stamp(self) -> tuple[object, ...]:
        return tuple(file_stamp(path) for path in self.files)


def file_stamp(path: Path) -> object:
    """Changes when the file's content was replaced or rewritten; None while it cannot be read."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


class ServerContextSource(_Source):
    """Contexts for a listener: its certificate, and which clients it lets in.

    ``client_ca`` are the files whose CAs may have signed a client's certificate.
    """

    def __init__(
        self,
        certificate: Path,
        key: Path,
        client_ca: Sequence[Path] = (),
        client_certificate: ClientCertificate = "none",
        alpn: Sequence[str] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        if client_certificate != "none" and not client_ca:
            raise ValueError("client certificates need at least one client CA")
        self._certificate = certificate
        self._key = key
        self._client_ca = tuple(client_ca)
        self._client_certificate = client_certificate
        self._alpn = tuple(alpn)
        super().__init__([certificate, key, *client_ca], Peers(now))

    def end_expired(self) -> None:
        """As `_Source.end_expired`. Sessions that are resumed end with the context, whose keys seal them."""
        if self._peers.end_expired():
            with contextlib.suppress(IdentityError):  # files that change now: reload tells of them
                self._context = self._build()

    def _build(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        _harden(context)
        _load_pair(context, self._certificate, self._key)
        authorities: list[Certificate] = []
        if self._client_certificate != "none":
            authorities = _load_authorities(context, self._client_ca)
            required = self._client_certificate == "required"
            context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        if self._alpn:
            context.set_alpn_protocols(list(self._alpn))
        context.sni_callback = _remember_server_name
        self._peers.trust(authorities)
        return context


class ClientContextSource(_Source):
    """Contexts for dialling: whom to trust, and which certificate to show (none without a pair).

    The server's certificate is always verified, its name included. `offering` gives the same for another
    protocol; both follow the files together.
    """

    def __init__(
        self,
        ca: Sequence[Path],
        certificate: Path | None = None,
        key: Path | None = None,
        alpn: Sequence[str] = (),
        now: Callable[[], float] = time.time,
    ) -> None:
        self._ca = tuple(ca)
        self._pair = (certificate, key) if certificate is not None and key is not None else None
        self._alpn = tuple(alpn)
        self._others: dict[tuple[str, ...], ssl.SSLContext] = {}
        super().__init__([*ca, *(self._pair or ())], Peers(now, random.uniform(0, SPREAD)))

    def offering(self, *protocols: str) -> ClientVariant:
        """Contexts that offer these protocols by ALPN. Raises IdentityError."""
        if protocols not in self._others:
            self._others[protocols], _ = self._make(protocols)
        return ClientVariant(self._others, protocols, self._peers)

    def _build(self) -> ssl.SSLContext:
        context, authorities = self._make(self._alpn)
        self._others.update([(protocols, self._make(protocols)[0]) for protocols in self._others])
        self._peers.trust(authorities)
        return context

    def _make(self, alpn: tuple[str, ...]) -> tuple[ssl.SSLContext, list[Certificate]]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _harden(context)
        authorities = _load_authorities(context, self._ca)
        if self._pair:
            _load_pair(context, *self._pair)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context, authorities


class ClientVariant:
    """What `ClientContextSource.offering` gives."""

    def __init__(
        self, contexts: dict[tuple[str, ...], ssl.SSLContext], protocols: tuple[str, ...], peers: Peers
    ) -> None:
        self._contexts = contexts
        self._protocols = protocols
        self._peers = peers

    def current(self) -> ssl.SSLContext:
        """The context for the next connection."""
        return self._contexts[self._protocols]

    def admit(self, connection: SecureConnection) -> str:
        """As `ClientContextSource.admit`."""
        return self._peers.admit(connection)


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def _load_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    identity = load_identity(certificate, key)
    try:
        context.load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as problem:
        raise IdentityError(certificate, f"cannot be used for TLS: {problem}") from problem
    CERTIFICATE_EXPIRY.labels(str(certificate)).set(identity.not_after.timestamp())


def _load_authorities(context: ssl.SSLContext, files: Sequence[Path]) -> list[Certificate]:
    found: list[Certificate] = []
    for path in files:
        found += load_certificates(path)
        try:
            context.load_verify_locations(path)
        except (ssl.SSLError, OSError) as problem:
            raise IdentityError(path, f"cannot be used as CA: {problem}") from problem
    return found


def _remember_server_name(sock: Any, name: str | None, _context: ssl.SSLContext) -> None:
    sock.requested_name = name
