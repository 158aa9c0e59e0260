"""TLS contexts that are built from files, and replaced when the files change.

A connection keeps its context; later connections get the new one. A source knows the connections of its
contexts, and ends those whose peer is no longer trusted.
"""

from __future__ import annotations

import contextlib
import os
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

MAX_GRACE = 30.0
"""Maximum seconds for which a client stays connected after a server's certificate has expired. Each source
draws its own value, so that the clients of one server do not leave simultaneously."""


class _Source:
    """Builds a context, and another in ``reload`` after a file changed."""

    def __init__(self, files: Sequence[Path], peers: Peers) -> None:
        self.files = tuple(files)
        self._peers = peers
        self._stamp = self._read_stamp()
        self._context = self._build()

    def current(self) -> ssl.SSLContext:
        """The context for the next connection."""
        return self._context

    def reload(self) -> bool:
        """Use the files' current content. Returns whether it changed.

        Ends connections whose peer's CA is no longer in the files. Raises IdentityError when the files are
        unusable; the previous context stays in use, and the next call tries again.
        """
        stamp = self._read_stamp()
        if stamp == self._stamp:
            return False
        self._context = self._build()
        self._stamp = stamp
        return True

    def admit(self, connection: SecureConnection) -> str:
        """Register a connection after its handshake. Returns why its peer is not trusted, or ''."""
        return self._peers.admit(connection)

    def end_expired(self) -> None:
        """End connections whose peer's certificate has expired. Call it every few seconds."""
        self._peers.end_expired()

    def _build(self) -> ssl.SSLContext:
        raise NotImplementedError

    def _read_stamp(self) -> tuple[object, ...]:
        return tuple(file_stamp(path) for path in self.files)


def file_stamp(path: Path) -> object:
    """A value that differs after the file is replaced or rewritten; None while it cannot be read."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


class ServerContextSource(_Source):
    """Contexts for a listener. ``client_ca`` are files with the CAs of client certificates."""

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
        """See `_Source.end_expired`. It also renews the context, whose keys allow sessions to be resumed."""
        if self._peers.end_expired():
            with contextlib.suppress(IdentityError):  # the files are changing: `reload` reports it
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
    """Contexts for dialling, with trusted CAs and an optional client certificate.

    The server's certificate and its name are always verified. `offering` returns contexts with other ALPN
    protocols that reload together with these.
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
        super().__init__([*ca, *(self._pair or ())], Peers(now, random.uniform(0, MAX_GRACE)))

    def offering(self, *protocols: str) -> ClientVariant:
        """The same contexts, but offering these protocols by ALPN. Raises IdentityError."""
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
    """The contexts that `ClientContextSource.offering` returns."""

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
        """See `ClientContextSource.admit`."""
        return self._peers.admit(connection)


def server_context(certificate: bytes, key: bytes) -> ssl.SSLContext:
    """A server's context with a PEM pair that is in no file. Raises ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context)
    descriptor = os.memfd_create("pair")  # the ssl module reads certificates and keys from files only
    try:
        os.write(descriptor, certificate + b"\n" + key)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return context


def _harden(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def _load_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    identity = load_identity(certificate, key, context)
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
