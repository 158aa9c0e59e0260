"""`python -m bench.health.zones`: what a zone label for each site brings. Needs root and a control plane.

Five nodes of one site are cut and kept; then a node of another site dies. The table says when the dead node
got SuperEdge's taint, and when that of the node lifecycle controller.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from rich.table import Table

from bench.harness import console
from tests.cluster.edgesites import DEPLOY, EdgeSites
from tests.cluster.environment import wait_until

DEAD = ("superedge.io/dead", "NoExecute")
UNREACHABLE = ("node.kubernetes.io/unreachable", "NoExecute")
SITES = {"shop": 6, "mill": 6}
LABEL = "topology.kubernetes.io/zone"
LONGEST = 240.0


def taint_times(sites: EdgeSites) -> dict[tuple[str, str], float]:
    """Cut five nodes of one site, let one of the other die; seconds to each of the two taints."""
    cut = [sites.nodes[f"shop-{number}"] for number in range(1, 6)]
    for node in cut:
        node.cut_cloud()
    wait_until(lambda: all(sites.ready(node.name) == "Unknown" for node in cut), "the cut are lost", 60)
    time.sleep(20)
    started = time.monotonic()
    sites.nodes["mill-1"].die()
    found: dict[tuple[str, str], float] = {}
    while len(found) < 2 and time.monotonic() - started < LONGEST:
        for taint in {DEAD, UNREACHABLE} & sites.taints("mill-1"):
            found.setdefault(taint, time.monotonic() - started)
        time.sleep(0.5)
    for node in cut:
        node.join_cloud()
    sites.nodes["mill-1"].revive()
    wait_until(lambda: not any(map(sites.taints, sites.nodes)), "all are back", 120)
    return found


def main() -> None:
    """Print the table."""
    sites = EdgeSites(Path(tempfile.mkdtemp(prefix="superedge-bench-")))
    table = Table(
        "zones", "SuperEdge's taint, s", "the controller's, s", title="a dead node beside five kept ones"
    )
    try:
        sites.up()
        sites.kubectl("apply", "-f", str(DEPLOY / "health-policy.yaml"))
        sites.start_cloud("")
        for name, count in SITES.items():
            sites.add(name, *range(1, count + 1))
        sites.wait_ready(150)
        for name, count in SITES.items():
            sites.deploy(name, count, name)
        wait_until(lambda: sites.status().get("enforcement_fault") == "", "the enforcement is proven", 60)
        for title, zone in (("one for both sites", "both"), ("one for each", "")):
            for name, node in sites.nodes.items():
                labels = {"metadata": {"labels": {LABEL: zone or node.site}}}
                sites.kubectl("patch", "node", name, "-p", json.dumps(labels))
            found = taint_times(sites)
            table.add_row(
                title, *(f"{found[each]:.1f}" if each in found else "never" for each in (DEAD, UNREACHABLE))
            )
        console.print(table)
    finally:
        sites.stop()


if __name__ == "__main__":
    main()
