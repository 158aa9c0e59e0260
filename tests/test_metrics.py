from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from twisted.trial.unittest import SynchronousTestCase

from superedge.metrics import FastCounter, FastHistogram

BOUNDS = (0.001, 0.5, 2.0)


def lines(registry: CollectorRegistry) -> list[bytes]:
    """What Prometheus reads, but for the times of creation."""
    return [line for line in generate_latest(registry).splitlines() if b"_created" not in line]


class TallyTests(SynchronousTestCase):
    """What is shown is what Prometheus' own client shows."""

    def test_counts(self) -> None:
        ours, theirs = CollectorRegistry(), CollectorRegistry()
        counts = FastCounter("asked", "What was asked", ["verb", "code"], ours)
        counter = Counter("asked", "What was asked", ["verb", "code"], registry=theirs)
        self.assertEqual(lines(ours), lines(theirs))
        for verb, code in (("get", "200"), ("list", "404"), ("get", "200")):
            counts.labels(verb, code).inc()
            counter.labels(verb, code).inc()
        self.assertEqual(lines(ours), lines(theirs))

    def test_spreads(self) -> None:
        ours, theirs = CollectorRegistry(), CollectorRegistry()
        spreads = FastHistogram("took", "Seconds", ["source"], BOUNDS, ours)
        histogram = Histogram("took", "Seconds", ["source"], buckets=BOUNDS, registry=theirs)
        for source, amount in (("a", 0.0), ("a", 0.001), ("b", 1.5), ("a", 2.0), ("a", 7.25)):
            spreads.labels(source).observe(amount)
            histogram.labels(source).observe(amount)
        self.assertEqual(lines(ours), lines(theirs))
