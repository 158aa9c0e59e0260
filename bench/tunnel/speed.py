"""Throughput, latency and new streams, beside the relay."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable

from bench import load
from bench.harness import Report

Way = tuple[str, int]
"""A name, and the port at which the way begins."""


def speeds(report: Report, ways: list[Way], seconds: float) -> None:
    """Bulk, small exchanges and new streams; the first way is the tunnel, the second the relay."""
    total = int(seconds * 300e6)
    for count in (1, 8):
        what = "bulk, 1 stream" if count == 1 else f"bulk, {count} streams"
        _compare(report, what, "MB/s", ((name, load.bulk(port, count, total)) for name, port in ways))
    for count in (1, 64):
        found = [(name, load.exchanges(port, count, seconds)) for name, port in ways]
        more = "; ".join(f"{name} p50 {each.p50:.3f} p99 {each.p99:.3f} ms" for name, each in found)
        _compare(
            report, f"1 KiB echo, {count} at once", "1/s", ((name, each.rate) for name, each in found), more
        )
        if count == 1:
            _compare(report, "1 KiB echo alone, p50", "ms", ((name, each.p50) for name, each in found))
    for count in (1, 16):
        what = "new streams, one after the other" if count == 1 else f"new streams, {count} at once"
        _compare(
            report, what, "1/s", ((name, load.new_connections(port, seconds, count)) for name, port in ways)
        )


def long_path(report: Report, ways: list[Way], what: str, total: int) -> None:
    """One bulk stream over a path with a delay."""
    _compare(report, what, "MB/s", ((name, load.bulk(port, 1, total)) for name, port in ways))


def changed_path(
    report: Report, ways: list[Way], what: str, change: Callable[[], None], seconds: float
) -> None:
    """One bulk stream under which the round trip rises; ``change`` makes it rise, and then fall again."""
    for name, port in ways:
        before, after = load.bulk_across(port, change, seconds)
        change()
        report.add(f"{what}, {name}", "MB/s", after, before, "peer: before the change")


def beside_bulk(
    report: Report, ways: list[Way], seconds: float, what: str, pace: float = 0.0, other: int | None = None
) -> None:
    """1 KiB requests alone, and beside a bulk stream of the same session.

    ``pace`` limits the bulk, MB/s. ``other`` is the port where the requests enter instead, of a way that
    shares nothing with the bulk but the cores.
    """
    for name, port in ways:
        requests = port if other is None else other
        alone = load.exchanges(requests, 1, seconds)
        bulk = _bulk_process(port, seconds, pace)
        time.sleep(0.5)
        beside = load.exchanges(requests, 1, seconds)
        bulk.kill()
        bulk.wait()
        report.add(
            f"{what}, {name}",
            "ms p99",
            beside.p99,
            alone.p99,
            f"peer: alone; p50 {beside.p50:.2f} beside, {alone.p50:.2f} alone",
        )


def slow_beside_fast(report: Report, port: int, seconds: float) -> None:
    """What a reader that does not read costs another stream of the same session."""
    alone = load.exchanges(port, 8, seconds)
    slow = load.SlowReader(port)
    slow.push()
    beside = load.exchanges(port, 8, seconds)
    slow.close()
    report.add(
        "1 KiB echo, 8 at once, beside a reader that stands still",
        "1/s",
        beside.rate,
        alone.rate,
        f"peer: without it; it took {slow.taken / 1e6:.1f} MB",
    )


def _bulk_process(port: int, seconds: float, pace: float) -> subprocess.Popen[bytes]:
    code = f"from bench import load; load.stream({port}, {seconds + 60}, {pace})"
    return subprocess.Popen([sys.executable, "-c", code])


def _compare(
    report: Report, what: str, unit: str, figures: Iterable[tuple[str, float]], more: str = ""
) -> None:
    (_, ours), (_, relay), *others = figures
    for name, figure in others:
        more += f"; {name} {figure:,.4g}"
    report.add(what, unit, ours, relay, more.strip("; "))
