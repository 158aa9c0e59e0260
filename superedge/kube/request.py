"""Parses the method and target of a request to the Kubernetes API. Pure.

Sources: Kubernetes API concepts, "Resource URIs" and "HTTP verbs"; k8s.io/apiserver pkg/endpoints/request,
which decodes a path before splitting it; Go's net/url for the query.
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
# A decoded path that every server interprets in the same way.
_PLAIN_PATH = re.compile(r"(?:/[\w\-.~!$&'()*+,=:@ ]+)+|/").fullmatch
_DOTS = re.compile(r"/\.\.?(?:/|$)").search
# Go's net/url drops a parameter with a semicolon or an invalid escape.
_PLAIN_QUERY = re.compile(rb"(?:[!$&-:<-~]|%[0-9A-Fa-f]{2})*").fullmatch
_ESCAPES = re.compile(rb"(?:[^%]|%[0-9A-Fa-f]{2})*").fullmatch


def qualified(group: str, resource: str) -> str:
    """``pods`` or ``deployments.apps``: the name of a resource in messages and patterns."""
    return f"{resource}.{group}" if group else resource


class RequestInfo(NamedTuple):
    """A request as the API server interprets it.

    ``verb`` is get, list, watch, create, update, patch, delete or deletecollection for a resource, and the
    method in lower case for any other path. ``namespace`` and ``name`` come from the path, not from a field
    selector, and may be empty.

    ``opaque`` is set for a target that servers may interpret in different ways: an escaped slash, ``//``, a
    dot segment, a semicolon, a trailing slash, the absolute form, or text that is not UTF-8. Such a request
    is forwarded unchanged; ``path`` is its target, and no other field describes it.
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
        """Whether it changes nothing, so that a cached response may answer it."""
        return self.verb in ("get", "list", "watch") and not self.opaque

    @property
    def is_object(self) -> bool:
        """Whether it gets one object with its body."""
        return self.verb == "get" and self.is_resource and not self.subresource and self.method == "GET"

    def flag(self, key: str) -> bool:
        """A boolean query parameter. Absent, ``0`` and ``false`` are false; anything else is true."""
        return _flag(self.query, key)

    def number(self, key: str) -> int | None:
        """An integer query parameter; None when it is absent, not a number, or exceeds 64 bits."""
        value = self.query.get(key, "")
        return int(value) if value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS else None


def _flag(query: dict[str, str], key: str) -> bool:
    value = query.get(key)
    return value is not None and value.casefold() not in _FALSE


def parse_request(method: bytes, target: bytes, accept: bytes) -> RequestInfo:
    """Parse a request line. ``accept`` is the Accept header, or empty."""
    raw_path, _, raw_query = target.partition(b"?")
    known = _read_path(raw_path)
    query = _read_query(raw_query) if raw_query else {}
    if query is None or known.opaque:
        known, query = RequestInfo("", "", target.decode("latin-1"), {}, "", opaque=True), {}
    name = method.decode("latin-1")
    verb = known.verb or (_verb(name, known.name, query) if known.is_resource else name.lower())
    return RequestInfo(name, verb, known.path, query, accept.decode("latin-1"), *known[5:])


def _verb(method: str, name: str, query: dict[str, str]) -> str:
    """The verb of a request for a resource; empty for an unknown method."""
    if method in ("GET", "HEAD"):
        if name:
            return "get"
        return "watch" if _flag(query, "watch") else "list"
    verb = _VERBS.get(method, "")
    return "deletecollection" if verb == "delete" and not name else verb


def _read_query(raw: bytes) -> dict[str, str] | None:
    """The parameters; the first of a repeated one counts. None when Go would parse them differently."""
    if _PLAIN_QUERY(raw) is None:
        return None
    text = raw.decode("ascii")
    if "%" in text or "+" in text:
        try:
            pairs = parse_qsl(text, keep_blank_values=True, errors="strict")
        except UnicodeDecodeError:
            return None
    else:
        pairs = [part.partition("=")[::2] for part in text.split("&") if part]
    return dict(reversed(pairs))


_OPAQUE = RequestInfo("", "", "", {}, "", opaque=True)


def _decoded(raw: bytes) -> str | None:
    """The decoded path; None when servers may interpret it in different ways."""
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
    """The part of a `RequestInfo` that depends on the path; ``verb`` is the path's watch or proxy prefix."""
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
