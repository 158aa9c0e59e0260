"""The webhook's certificate: made by the first replica that needs it, shared in a Secret, and renewed.

The API servers hear of a CA before anything is signed by it: the webhook configuration's caBundle is written
first, the Secret after that.
"""

from __future__ import annotations

import ssl
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from superedge.kube.client import IKubeClient, Problems, Resource
from superedge.kube.errors import APIError, DecodeError
from superedge.kube.json import decode
from superedge.net.names import is_address
from superedge.reactor.loops import Loop
from superedge.tls.authority import Authority
from superedge.tls.contexts import server_context

SECRET = "superedge-admission"
CONFIGURATION = "superedge-keep"
"""Name of the MutatingWebhookConfiguration in deploy/kubernetes/health-webhook.yaml."""
SECRETS = Resource("", "v1", "secrets")
WEBHOOKS = Resource("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations")
JSON_PATCH = "application/json-patch+json"
LIFETIME = timedelta(days=90)
OLD_CAS = 8
"""CAs before the one in use that stay in the caBundle."""
LOOK = 10.0
"""Seconds between two checks of the Secret and the caBundle: with another's the webhook keeps nobody."""
SOON = 5.0
"""Seconds until the next check after a failed one."""
LONGEST_LOOK = 60.0
"""Seconds that a check takes at most: a few requests, each with its own time limit."""
_TROUBLE: tuple[type[Exception], ...] = (OSError, *Problems)
"""OSError: certificates are made in files, and a disk may be full."""

_log = Logger()


class Pair(NamedTuple):
    """PEM. ``authorities`` are the CAs for the caBundle; the first is the one in use."""

    authorities: bytes
    authority_key: bytes
    certificate: bytes
    key: bytes

    def context(self) -> ssl.SSLContext:
        """The pair as a server's TLS context. Raises ssl.SSLError."""
        return server_context(self.certificate, self.key)

    def good(self, names: Sequence[str], now: datetime) -> bool:
        """Whether it has these names, and more than a third of its lifetime left."""
        try:
            leaf = x509.load_pem_x509_certificate(self.certificate)
            authority = x509.load_pem_x509_certificates(self.authorities)[0]
            has = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            leaf.verify_directly_issued_by(authority)
            self.context()
        except (ValueError, IndexError, TypeError, InvalidSignature, ssl.SSLError, x509.ExtensionNotFound):
            return False
        except Exception:
            _log.failure("the webhook's certificate cannot be checked")
            return False
        begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
        in_time = begin <= now < end - (end - begin) / 3 and _issues(authority, now, LIFETIME)
        held = {*has.get_values_for_type(x509.DNSName), *map(str, has.get_values_for_type(x509.IPAddress))}
        return in_time and set(names) <= held


def _issues(authority: x509.Certificate, now: datetime, lifetime: timedelta) -> bool:
    """Whether it is valid now and for as long as a certificate that it issues."""
    return authority.not_valid_before_utc <= now and authority.not_valid_after_utc >= now + lifetime


def _latest(authorities: bytes) -> bytes:
    """The first of several CAs; none if one of them cannot be read."""
    try:
        found = x509.load_pem_x509_certificates(authorities)
    except ValueError:
        return b""
    return b"".join(each.public_bytes(Encoding.PEM) for each in found[:OLD_CAS])


def make_pair(names: Sequence[str], before: Pair | None, now: datetime) -> Pair:
    """A new certificate, signed by the previous CA if that is valid long enough, otherwise by a new CA."""
    with tempfile.TemporaryDirectory(prefix="superedge-") as text:
        directory = Path(text)
        authorities = b""
        if before is not None:
            (directory / "ca.crt").write_bytes(before.authorities)
            (directory / "ca.key").write_bytes(before.authority_key)
            authorities = before.authorities
        try:
            authority = Authority.load(directory)
            made = x509.load_pem_x509_certificates(before.authorities if before is not None else b"")[0]
            if not _issues(made, now, 2 * LIFETIME):
                raise ValueError("it ends too soon, or begins later")
        except Exception:
            authority = Authority.create(directory / "new", "superedge admission")
            authorities = authority.path.read_bytes() + _latest(authorities)
            key = (directory / "new" / "ca.key").read_bytes()
        else:
            key = (directory / "ca.key").read_bytes()
        addresses = [name for name in names if is_address(name)]
        dns = [name for name in names if not is_address(name)]
        pair = authority.issue(
            names[0][:64], dns=dns, ips=addresses, directory=directory, name="tls", lifetime=LIFETIME
        )
        return Pair(authorities, key, pair.certificate.read_bytes(), pair.key.read_bytes())


class _Metadata(msgspec.Struct):
    resourceVersion: str = ""


class _Secret(msgspec.Struct):
    metadata: _Metadata
    data: dict[str, str] = {}


class _ClientConfig(msgspec.Struct):
    caBundle: str = ""


class _Hook(msgspec.Struct):
    name: str
    clientConfig: _ClientConfig = msgspec.field(default_factory=_ClientConfig)


class _Configuration(msgspec.Struct):
    metadata: _Metadata
    webhooks: list[_Hook] = []


class ServingCertificate(Service):
    """Keeps the certificate valid. ``use`` is called with each new one."""

    name = "health-serving-certificate"

    def __init__(
        self,
        reactor: IReactorTime,
        client: IKubeClient,
        namespace: str,
        names: Sequence[str],
        use: Callable[[ssl.SSLContext], None],
    ) -> None:
        """``names`` are those that API servers dial, usually SERVICE.NAMESPACE.svc."""
        self._reactor = reactor
        self._client = client
        self._namespace = namespace
        self._names = names
        self._use = use
        self._used: Pair | None = None
        self._loop = Loop(reactor, "renewing the webhook's certificate", self._run, LONGEST_LOOK)
        self._failing = False

    def startService(self) -> None:
        """Start the checks."""
        super().startService()
        self._loop.start()

    def stopService(self) -> None:
        """Stop the checks."""
        super().stopService()
        self._loop.stop()

    async def _run(self) -> None:
        while True:
            pause = LOOK
            try:
                await self.look()
                self._failing = False
            except _TROUBLE as problem:
                pause = SOON
                if not self._failing:
                    self._failing = True
                    _log.warn("the webhook's certificate: {problem}", problem=problem)
            self._loop.iteration_done(pause + LONGEST_LOOK)
            await deferLater(self._reactor, pause)

    async def look(self) -> None:
        """Check once: make the certificate if necessary, and use it. Raises what the client raises."""
        now = datetime.now(UTC)
        version, pair = await self._read()
        if pair is None or not pair.good(self._names, now):
            pair = make_pair(self._names, pair, now)
            await self._publish(pair)
            await self._write(version, pair)
            _log.info("the webhook has a new certificate")
        else:
            await self._publish(pair)
        if pair != self._used:
            self._use(pair.context())
            self._used = pair

    async def _read(self) -> tuple[str, Pair | None]:
        try:
            answer = await self._client.call("GET", SECRETS.path(self._namespace, SECRET))
        except APIError as problem:
            if problem.code == 404:
                return "", None
            raise
        found = decode(_Secret, answer)
        try:
            parts = [b64decode(found.data[key]) for key in ("ca.crt", "ca.key", "tls.crt", "tls.key")]
        except (KeyError, ValueError):
            return found.metadata.resourceVersion, None
        return found.metadata.resourceVersion, Pair(*parts)

    async def _write(self, version: str, pair: Pair) -> None:
        names = ("ca.crt", "ca.key", "tls.crt", "tls.key")
        metadata = {"name": SECRET, "namespace": self._namespace}
        if version:
            metadata["resourceVersion"] = version
        secret: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "data": {name: b64encode(part).decode() for name, part in zip(names, pair, strict=True)},
        }
        if version:
            await self._client.call("PUT", SECRETS.path(self._namespace, SECRET), body=secret)
        else:
            await self._client.call("POST", SECRETS.path(self._namespace), body=secret)

    async def _publish(self, pair: Pair) -> None:
        """Write the CAs into the caBundle."""
        path = WEBHOOKS.path(name=CONFIGURATION)
        found = decode(_Configuration, await self._client.call("GET", path))
        bundle = b64encode(pair.authorities).decode()
        patch = [
            {"op": "add", "path": f"/webhooks/{at}/clientConfig/caBundle", "value": bundle}
            for at, hook in enumerate(found.webhooks)
            if hook.clientConfig.caBundle != bundle
        ]
        if not found.webhooks:
            raise DecodeError(f"MutatingWebhookConfiguration {CONFIGURATION} has no webhooks")
        if patch:
            version = found.metadata.resourceVersion
            same = [{"op": "test", "path": "/metadata/resourceVersion", "value": version}]
            await self._client.call("PATCH", path, body=same + patch, content_type=JSON_PATCH)
