"""What a request asks of the Kubernetes API, read from its method and target. Pure.

Sources: Kubernetes API concepts, "Resource URIs" and "HTTP verbs"; k8s.io/apiserver pkg/endpoints/request,
which decodes a path before it splits it; net/url of Go, which reads the query.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote_to_bytes

from superedge.kube.memo import memo

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})
_FALSE = frozenset({"0", "false"})
_MAX_DIGITS = 18
# A path, apart from escapes, that every server reads in the same way.
_PLAIN_PATH = re.compile(r"(?:/[\w\-.~!$&'()*+,=:@ ]+)+|/").fullmatch
_DOTS = re.compile(r"/\.\.?(?:/|$)").search
# Go's net/url drops a parameter with a semicolon or with a % that escapes nothing.
_PLAIN_QUERY = re.compile(rb"(?:[!$&-:<-~]|%[0-9A-Fa-f]{2})*").fullmatch
_ESCAPES = re.compile(rb"(?:[^%]|%[0-9A-Fa-f]{2})*").fullmatch


def qualified(group: str, resource: str) -> str:
    """``pods`` or ``deployments.apps``: how messages and patterns name a resource."""
    return f"{resource}.{group}" if group else resource


class RequestInfo(NamedTuple):
    """A request as the API server understands it.

    ``verb`` is get, list, watch, create, update, patch, delete or deletecollection for a resource, and the
    method in lower case for any other path. ``namespace`` and ``name`` are empty where there is none;
    ``name`` is the path's, whatever a field selector says.

    ``opaque`` is set for a target that servers may read in different ways: an escaped slash, ``//``, a dot
    segment, a semicolon, a slash at the end, an absolute form, text that is not UTF-8. Such a request is
    forwarded as it is; nothing is known of what it asks, and ``path`` is the target itself.
    """

    method: str
    verb: str
    path: str
    query: dict[str, str]
    accept: str
    is_resource: bool = False
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    opaque: bool = False

    @property
    def is_read(self) -> bool:
        """Whether it changes nothing and a remembered answer may stand in for a fresh one."""
        return self.verb in ("get", "list", "watch") and not self.opaque

    @property
    def is_object(self) -> bool:
        """Whether it asks for an object, and for its body."""
        return self.verb == "get" and self.is_resource and not self.subresource and self.method == "GET"

    def flag(self, key: str) -> bool:
        """A boolean query parameter: absent, ``0`` and ``false`` are false, anything else is true."""
        value = self.query.get(key)
        return value is not None and value.casefold() not in _FALSE

    def number(self, key: str) -> int | None:
        """A whole-number query parameter; None when it is absent, no number, or beyond 64 bits."""
        value = self.query.get(key, "")
        return int(value) if value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS else None


@memo(1024)
def parse_request(method: bytes, target: bytes, accept: bytes) -> RequestInfo:
    """Read a request line; ``accept`` is the Accept header, empty when there is none.

    The answer is shared between calls: treat ``query`` as read-only.
    """
    raw_path, _, raw_query = target.partition(b"?")
    known = _read_path(raw_path)
    query = _read_query(raw_query) if raw_query else {}
    if query is None or known.opaque:
        known, query = RequestInfo("", "", target.decode("latin-1"), {}, "", opaque=True), {}
    name = method.decode("latin-1")
    info = known._replace(method=name, verb=name.lower(), query=query, accept=accept.decode("latin-1"))
    return info._replace(verb=known.verb or _verb(info)) if info.is_resource else info


def _verb(info: RequestInfo) -> str:
    """What is done with a resource; empty for a method that the API does not have."""
    if info.method in ("GET", "HEAD"):
        if info.name:
            return "get"
        return "watch" if info.flag("watch") else "list"
    verb = _VERBS.get(info.method, "")
    return "deletecollection" if verb == "delete" and not info.name else verb


def _read_query(raw: bytes) -> dict[str, str] | None:
    """The parameters; of one that is there twice the first counts. None for what Go reads otherwise."""
    if _PLAIN_QUERY(raw) is None:
        return None
    text = raw.decode("ascii")
    if "%" in text or "+" in text:
        try:
            pairs = parse_qsl(text, keep_blank_values=True, errors="strict")
        except UnicodeDecodeError:
            return None
    else:
        pairs = [
            (name, value) for name, _, value in (part.partition("=") for part in text.split("&") if part)
        ]
    return dict(reversed(pairs))


_OPAQUE = RequestInfo("", "", "", {}, "", opaque=True)


def _decoded(raw: bytes) -> str | None:
    """A path without escapes; None for one that servers may read in different ways."""
    if _ESCAPES(raw) is None:
        return None
    try:
        path = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        return None
    if _PLAIN_PATH(path) is None or _DOTS(path) or raw.count(b"/") != path.count("/"):
        return None
    return path


@memo(1024)
def _read_path(raw: bytes) -> RequestInfo:
    """What a path says, whatever is done with it; ``verb`` is one that it begins with, else empty."""
    path = _decoded(raw)
    if path is None:
        return _OPAQUE
    parts = path[1:].split("/")
    if parts[0] not in ("api", "apis"):
        return RequestInfo("", "", path, {}, "")
    prefix = 2 if parts[0] == "api" else 3
    if len(parts) <= prefix:
        return RequestInfo("", "", path, {}, "")
    group, version = ("", parts[1]) if prefix == 2 else (parts[1], parts[2])
    rest = parts[prefix:]
    verb = ""
    if rest[0] in ("watch", "proxy"):
        if len(rest) == 1:
            return _OPAQUE  # refused by the API server
        verb, rest = rest[0], rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
            rest = rest[2:]
    resource = rest[0]
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 and verb != "proxy" else ""
    return RequestInfo("", verb, path, {}, "", True, group, version, resource, subresource, namespace, name)
