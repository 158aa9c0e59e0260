"""Under what a request is counted. Pure.

A client makes up paths and methods, and each new label is a time series that stays. So a resource is named
once the API server has served it; what it has not is counted together.
"""

from __future__ import annotations

from superedge.kube.request import RequestInfo

MAX_RESOURCES = 1000
"""Names of resources that are told apart; the ones beyond are counted as OTHER."""
OTHER = "other"
_METHODS = frozenset({"get", "head", "post", "put", "patch", "delete", "options"})
_VERBS = _METHODS | {"list", "watch", "create", "update", "deletecollection", "proxy"}
_ERROR = 400


class RequestLabels:
    """Remembers what the API server has served."""

    def __init__(self) -> None:
        self._served: set[str] = set()

    def of(self, info: RequestInfo, status: int) -> tuple[str, str]:
        """Verb and resource of an answered request; a resource that was never served is empty."""
        verb = info.verb if info.verb in _VERBS else OTHER
        resource = info.resource
        if resource in self._served:
            return verb, resource
        if status >= _ERROR:
            return verb, ""
        if len(self._served) >= MAX_RESOURCES:
            return verb, OTHER
        self._served.add(resource)
        return verb, resource
