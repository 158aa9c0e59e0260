"""Which responses are cached, and whether on disk. Pure."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from fnmatch import fnmatchcase

from superedge.config.liteapiserver import CacheRuleConfig
from superedge.kube.memo import memo
from superedge.kube.request import RequestInfo, qualified

# The only subresources whose response is state rather than an action or a stream.
_SUBRESOURCES = frozenset({"status", "scale"})
# Paths that are not resources: discovery, schemas, the version and the token issuer.
_DOCUMENTS = ("/api", "/apis", "/version")
_BELOW = ("/api/", "/apis/", "/openapi/", "/openid/", "/.well-known/")
# Their known parameters. A request with others is not cached: clients could create documents without end.
_PATHS = frozenset({"timeout"})
_SCHEMAS = frozenset({"timeout", "hash"})


class Keep(enum.Enum):
    """Where a response is kept: on disk, in memory, or not at all."""

    STORED = "cache"
    MEMORY = "memory-only"
    SKIP = "skip"


class Policy:
    """The configured rules, and what can be cached at all."""

    def __init__(self, rules: Sequence[CacheRuleConfig] = ()) -> None:
        self._rules = [(rule.resources, Keep(rule.action)) for rule in rules]
        self.for_resource = memo(1024)(self._for_resource)

    def _for_resource(self, group: str, resource: str) -> Keep:
        names = {resource, qualified(group, resource)}
        for pattern, keep in self._rules:
            if any(fnmatchcase(name, pattern) for name in names):
                return keep
        return Keep.STORED

    def keep(self, request: RequestInfo) -> Keep:
        """Where the response to a request is kept."""
        if not request.is_read or request.method != "GET":
            return Keep.SKIP
        if not request.is_resource:
            path = request.path
            known = path in _DOCUMENTS or path.startswith(_BELOW)
            asks = _SCHEMAS if path.startswith("/openapi/v3/") else _PATHS
            return Keep.STORED if known and asks.issuperset(request.query) else Keep.SKIP
        if request.subresource and (request.subresource not in _SUBRESOURCES or request.verb != "get"):
            return Keep.SKIP
        return self.for_resource(request.group, request.resource)
