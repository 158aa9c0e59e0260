"""What a request asks of the Kubernetes API, read from its method and target. Pure.

Source: Kubernetes API concepts, "Resource URIs" and "HTTP verbs".
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from superedge.kube.memo import memo

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})
_TRUE = frozenset({"1", "t", "true"})


def qualified(group: str, resource: str) -> str:
    """``pods`` or ``deployments.apps``: how messages and patterns name a resource."""
    return f"{resource}.{group}" if group else resource


class RequestInfo(NamedTuple):
    """A request as the API server understands it.

    ``verb`` is get, list, watch, create, update, patch, delete or deletecollection for a resource, and the
    method in lower case for any other path. ``namespace`` and ``name`` are empty where there is none.
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

    @property
    def is_read(self) -> bool:
        """Whether it changes nothing and a remembered answer may stand in for a fresh one."""
        return self.verb in ("get", "list", "watch")

    @property
    def is_object(self) -> bool:
        """Whether it asks for an object, and for its body."""
        return self.verb == "get" and self.is_resource and not self.subresource and self.method == "GET"

    def flag(self, key: str) -> bool:
        """A boolean query parameter; absent is false."""
        value = self.query.get(key)
        return value is not None and (value.lower() in _TRUE or value == "")

    def number(self, key: str) -> int | None:
        """A whole-number query parameter, None when absent or no number."""
        value = self.query.get(key, "")
        return int(value) if value.isascii() and value.isdigit() else None


@memo(1024)
def parse_request(method: bytes, target: bytes, accept: bytes) -> RequestInfo:
    """Read a request line; ``accept`` is the Accept header, empty when there is none.

    What is not UTF-8 names no object and is replaced: it goes no further than a 404.

    The answer is shared between calls: treat ``query`` as read-only.
    """
    raw_path, _, raw_query = target.partition(b"?")
    known = _read_path(raw_path)
    query = _read_query(raw_query.decode("latin-1")) if raw_query else {}
    name = method.decode("latin-1")
    info = known._replace(method=name, verb=name.lower(), query=query, accept=accept.decode("latin-1"))
    return info._replace(verb=known.verb or _verb(info)) if info.is_resource else info


def _verb(info: RequestInfo) -> str:
    """What is done with a resource."""
    if info.method == "GET":
        if info.flag("watch"):
            return "watch"
        return "get" if info.name else "list"
    if info.method == "HEAD":
        return "get"
    verb = _VERBS.get(info.method, info.verb)
    return "deletecollection" if verb == "delete" and not info.name else verb


def _read_query(raw: str) -> dict[str, str]:
    """The parameters; of one that is there twice the first counts."""
    if "%" in raw or "+" in raw:
        pairs = parse_qsl(raw, keep_blank_values=True, errors="replace")
    else:
        pairs = [(name, value) for name, _, value in (part.partition("=") for part in raw.split("&") if part)]
    return dict(reversed(pairs))


@memo(1024)
def _read_path(target: bytes) -> RequestInfo:
    """What a path says, whatever is done with it; ``verb`` is one that it begins with, else empty."""
    raw = target.decode("latin-1")
    path = unquote(raw, errors="replace")
    parts = [part for part in raw.split("/") if part]
    if "%" in raw:
        parts = [unquote(part, errors="replace") for part in parts]
    if not parts or parts[0] not in ("api", "apis"):
        return RequestInfo("", "", path, {}, "")
    prefix = 2 if parts[0] == "api" else 3
    if len(parts) <= prefix:
        return RequestInfo("", "", path, {}, "")
    group, version = ("", parts[1]) if prefix == 2 else (parts[1], parts[2])
    rest = parts[prefix:]
    verb = ""
    if rest[0] in ("watch", "proxy") and len(rest) > 1:
        verb, rest = rest[0], rest[1:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
            rest = rest[2:]
    resource = rest[0]
    name = rest[1] if len(rest) > 1 else ""
    subresource = rest[2] if len(rest) > 2 else ""
    return RequestInfo("", verb, path, {}, "", True, group, version, resource, subresource, namespace, name)
