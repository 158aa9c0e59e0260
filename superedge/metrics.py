"""What is counted at every request and every stream, for Prometheus.

Its client's own counters take locks, since any thread may count. The reactor's thread alone counts here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Count:
    """One time series of `Counts`; add to ``value``."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Counts(Collector):
    """A counter with labels."""

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str], registry: CollectorRegistry = REGISTRY
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._counts: dict[tuple[str, ...], Count] = {}
        registry.register(self)

    def labels(self, *values: str) -> Count:
        """The time series of these values."""
        found = self._counts.get(values)
        if found is None:
            found = self._counts[values] = Count()
        return found

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Called by Prometheus' client."""
        family = CounterMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, count in self._counts.items():
            family.add_metric(values, count.value)
        yield family


class Spread:
    """One time series of `Spreads`."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """By bucket, those above every bound last."""
        self.total = 0.0

    def observe(self, amount: float) -> None:
        """Count one."""
        self.counts[bisect_left(self._bounds, amount)] += 1
        self.total += amount


class Spreads(Collector):
    """A histogram with one label; ``bounds`` are the inclusive upper ends of its buckets, ascending."""

    def __init__(
        self,
        name: str,
        documentation: str,
        label: str,
        bounds: Sequence[float],
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._label = label
        self._bounds = bounds
        self._spreads: dict[str, Spread] = {}
        registry.register(self)

    def labels(self, value: str) -> Spread:
        """The time series of this value."""
        return self._spreads.setdefault(value, Spread(self._bounds))

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Called by Prometheus' client."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=[self._label])
        for value, spread in self._spreads.items():
            buckets, below = [], 0
            for bound, count in zip((*self._bounds, float("inf")), spread.counts, strict=True):
                below += count
                buckets.append((floatToGoString(bound), float(below)))
            family.add_metric([value], buckets, spread.total)
        yield family
