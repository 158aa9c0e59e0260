"""Counts requests under labels of limited variety. Pure.

Clients choose paths and methods freely, and each new label is a time series that stays. Therefore a resource
gets a label of its own only once the API server has served it.
"""

from __future__ import annotations

from superedge.kube.request import RequestInfo
from superedge.liteapiserver import metrics
from superedge.metrics import CounterSeries

MAX_RESOURCES = 1000
"""Resources with a label of their own; further ones are counted as OTHER."""
OTHER = "other"
_METHODS = frozenset({"get", "head", "post", "put", "patch", "delete", "options"})
_VERBS = _METHODS | {"list", "watch", "create", "update", "deletecollection", "proxy"}
_ERROR = 400


class RequestLabels:
    """Knows which resources the API server has served."""

    def __init__(self) -> None:
        self._served: set[str] = set()

    def of(self, info: RequestInfo, status: int) -> tuple[str, str]:
        """The verb and resource to count a request under; a resource that was never served is empty."""
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


class RequestCounter:
    """Counts answered requests in `metrics.REQUESTS`."""

    def __init__(self) -> None:
        self._labels = RequestLabels()
        self._series: dict[tuple[str, str, int, str], CounterSeries] = {}

    def count(self, info: RequestInfo, status: int, source: str) -> None:
        """``source`` is ``upstream``, ``cache`` or ``refused``."""
        key = (info.verb, info.resource, status, source)
        series = self._series.get(key)
        if series is None:
            verb, resource = self._labels.of(info, status)
            series = metrics.REQUESTS.labels(verb, resource, str(status), source)
            if (verb, resource) == key[:2]:  # a key that a client made up is not kept
                self._series[key] = series
        series.inc()
