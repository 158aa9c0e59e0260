"""How soon streams open again."""

from __future__ import annotations

import signal
import time

from bench.harness import Report, Workbench, wait_for_port
from bench.tunnel.memory import Fleet
from bench.tunnel.site import Path, Target, Tunnel, echoes, wait_for_echo

CUT_EVERY = 5.0
CUTS = 4


def restarts(report: Report, tunnel: Tunnel) -> None:
    """Kill either process, start it again, and wait for a stream."""
    for end in ("cloud", "edge"):
        process = tunnel.cloud if end == "cloud" else tunnel.edge
        process.kill()
        process.wait()
        time.sleep(1.0)
        started = time.monotonic()
        if end == "cloud":
            tunnel.start_cloud()
            wait_for_port(tunnel.cloud_port)
        else:
            tunnel.start_edge()
        up = time.monotonic() - started
        streams = wait_for_echo(tunnel.port)
        report.add(
            f"{end} killed and started again: new streams",
            "s",
            streams if end == "cloud" else up + streams,
            more=f"after it listened, {up:.2f} s from its start" if end == "cloud" else "from its start",
        )


def silent_cut(report: Report, bench: Workbench, target: Target) -> None:
    """Cut the session's connection so that neither end is told."""
    path = Path(bench, always=True)
    tunnel = Tunnel(bench, target, path)
    path.signal(signal.SIGUSR1)
    report.add("link cut silently: new streams", "s", wait_for_echo(tunnel.port))


def flapping(report: Report, bench: Workbench, target: Target) -> None:
    """End the session's connection every few seconds and try new streams all the while."""
    path = Path(bench, 2, always=True)
    tunnel = Tunnel(bench, target, path)
    tries = served = 0
    for _ in range(CUTS):
        end = time.monotonic() + CUT_EVERY
        while time.monotonic() < end:
            tries += 1
            served += echoes(tunnel.port)
            time.sleep(0.01)
        path.signal(signal.SIGHUP)
    what = f"link cut every {CUT_EVERY:g} s: new streams that are served"
    report.add(what, "%", 100 * served / tries)


def all_at_once(report: Report, tunnel: Tunnel, fleet: Fleet) -> None:
    """Kill the cloud under its nodes and start it again."""
    tunnel.cloud.kill()
    tunnel.cloud.wait()
    time.sleep(1.0)
    tunnel.start_cloud()
    wait_for_port(tunnel.cloud_port)
    listening = time.monotonic()
    events = fleet.wait(listening)
    counts = [0, *(count for count, _ in events)]
    worst, at = 0, 0
    for index, (_, moment) in enumerate(events):
        while events[at][1] <= moment - 0.1:
            at += 1
        worst = max(worst, events[index][0] - counts[at])
    half = next(moment for count, moment in events if count >= fleet.count / 2) - listening
    report.add(
        f"{fleet.count:,} nodes connect again at once: all are back",
        "s",
        events[-1][1] - listening,
        more=f"half after {half:.1f} s; most within 0.1 s: {worst}",
    )
