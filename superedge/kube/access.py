"""Finds the API server and the credentials for it, in a kubeconfig or in the pod that this process runs in.

Source: Kubernetes' "Organizing Cluster Access Using kubeconfig Files" and "Accessing the API from a Pod".
"""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from superedge.config.addresses import TCPAddress
from superedge.errors import ConfigError, IdentityError
from superedge.tls.contexts import ClientContextSource, file_stamp

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

_UNSUPPORTED_USER = ("exec", "auth-provider", "username", "password", "as")
_UNSUPPORTED_CLUSTER = ("insecure-skip-tls-verify", "proxy-url")


class Token:
    """A bearer token, read again when its file changes: service account tokens expire after an hour."""

    def __init__(self, text: str = "", path: Path | None = None) -> None:
        self._text = text
        self._path = path
        self._stamp: object = None

    def current(self) -> str:
        """The token, or the last one that was read if the file cannot be read now. Raises IdentityError."""
        if self._path is None:
            return self._text
        stamp = file_stamp(self._path)
        if stamp is None or stamp != self._stamp:
            try:
                self._text = _token(self._path)
                self._stamp = stamp
            except IdentityError:
                if not self._text:
                    raise
        return self._text


def _token(path: Path) -> str:
    """The token in a file. Raises IdentityError."""
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError as problem:
        raise IdentityError(path, f"cannot be read: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        raise IdentityError(path, "is not a token: it has bytes that are not ASCII") from problem
    if not _is_token(text):
        raise IdentityError(path, "is not a token, which is one word")
    return text


def _is_token(text: str) -> bool:
    """Whether it can stand in a header (RFC 6750 section 2.1, more loosely)."""
    return text.isascii() and text.isprintable() and bool(text) and " " not in text


@dataclass(frozen=True, slots=True)
class Access:
    """An API server and credentials.

    ``prefix`` precedes every path; ``namespace`` is that of the context or of the pod.
    """

    server: TCPAddress
    tls: ClientContextSource
    token: Token | None = None
    server_name: str | None = None
    prefix: str = ""
    namespace: str = "default"


def load_access(kubeconfig: Path | None) -> Access:
    """From the kubeconfig's current context, or from the pod. Raises ConfigError, IdentityError."""
    return in_cluster() if kubeconfig is None else from_kubeconfig(kubeconfig)


def in_cluster(directory: Path = SERVICE_ACCOUNT) -> Access:
    """With the pod's service account. Raises ConfigError outside a pod, IdentityError."""
    host = os.environ.get("KUBERNETES_SERVICE_HOST")
    if not host:
        raise ConfigError("kubernetes.kubeconfig", "", "must name a file: this process does not run in a pod")
    port = int(os.environ.get("KUBERNETES_SERVICE_PORT", "443"))
    try:
        namespace = (directory / "namespace").read_text().strip()
    except OSError:
        namespace = "default"
    return Access(
        TCPAddress(host, port),
        ClientContextSource([directory / "ca.crt"]),
        Token(path=directory / "token"),
        namespace=namespace,
    )


def from_kubeconfig(path: Path) -> Access:
    """From a kubeconfig's current context. Raises ConfigError, which names the missing key; IdentityError."""
    try:
        tree = yaml.safe_load(path.read_bytes())
    except OSError as problem:
        raise ConfigError(str(path), "", f"cannot be read: {problem.strerror}") from problem
    except (yaml.YAMLError, RecursionError) as problem:
        raise ConfigError(str(path), "", "is not YAML") from problem
    return _Reader(path, tree if isinstance(tree, dict) else {}).access()


class _Reader:
    """Reads a kubeconfig; its errors name the key."""

    def __init__(self, path: Path, tree: dict[str, Any]) -> None:
        self._path = path
        self._tree = tree

    def fault(self, key: str, message: str) -> ConfigError:
        return ConfigError(str(self._path), key, message)

    def access(self) -> Access:
        current = self._tree.get("current-context")
        if not isinstance(current, str):
            raise self.fault("current-context", "is required")
        context = self._named("contexts", "context", current)
        cluster = self._named("clusters", "cluster", str(context.get("cluster")))
        user = self._named("users", "user", str(context.get("user"))) if context.get("user") else {}
        for found, names, where in (
            (cluster, _UNSUPPORTED_CLUSTER, "cluster"),
            (user, _UNSUPPORTED_USER, "user"),
        ):
            for name in names:
                if found.get(name):
                    raise self.fault(
                        f"{where}.{name}", "is not supported; use a client certificate or a token"
                    )
        server, prefix = self._server(cluster.get("server"))
        authority = self._file(cluster, "certificate-authority")
        if authority is None:
            raise self.fault("cluster.certificate-authority", "is required")
        certificate, key = self._file(user, "client-certificate"), self._file(user, "client-key")
        if (certificate is None) != (key is None):
            raise self.fault("user", "needs both client-certificate and client-key, or neither")
        return Access(
            server,
            ClientContextSource([authority], certificate, key),
            self._token(user),
            cluster.get("tls-server-name") or None,
            prefix,
            context.get("namespace") or "default",
        )

    def _named(self, table: str, key: str, name: str) -> dict[str, Any]:
        entries = self._tree.get(table)
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(key), dict):
                found: dict[str, Any] = entry[key]
                return found
        raise self.fault(table, f"has no {key} called {name!r}")

    def _server(self, text: Any) -> tuple[TCPAddress, str]:
        try:
            parts = urlsplit(text if isinstance(text, str) else "")
            host, port = parts.hostname, parts.port or 443
        except ValueError:
            host = None
        if not host or parts.scheme != "https":
            raise self.fault("cluster.server", f"{text!r} is not https://host:port")
        return TCPAddress(host, port), parts.path.rstrip("/")

    def _token(self, user: dict[str, Any]) -> Token | None:
        if user.get("tokenFile"):
            return Token(path=self._path.parent / str(user["tokenFile"]))
        if not user.get("token"):
            return None
        if not _is_token(str(user["token"])):
            raise self.fault("user.token", "is not a token, which is one word")
        return Token(str(user["token"]))

    def _file(self, found: dict[str, Any], key: str) -> Path | None:
        if data := found.get(f"{key}-data"):
            try:
                return _in_memory(key, base64.b64decode(data, validate=True))
            except (binascii.Error, ValueError, TypeError) as problem:
                raise self.fault(f"{key}-data", "is not base64") from problem
        return self._path.parent / str(found[key]) if found.get(key) else None


def _in_memory(name: str, content: bytes) -> Path:
    """A file in memory: the ssl module reads certificates and keys from files only."""
    descriptor = os.memfd_create(name)
    os.write(descriptor, content)
    return Path(f"/proc/self/fd/{descriptor}")
