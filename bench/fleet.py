"""``python -m bench.fleet PKI SERVER COUNT``: that many real edge ends in one process.

Prints a line ``up COUNT SECONDS`` when more nodes are connected than before, SECONDS of the monotonic clock,
and ``down COUNT SECONDS`` when fewer are.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, react

from superedge.config.tunnel import TunnelEdgeConfig
from superedge.tls.reload import FileWatcher
from superedge.tunnel.edge import TunnelEdge

LOOK_EVERY = 0.02


def main(reactor: Any, pki: str, server: str, count: str) -> Any:
    """Run until killed."""
    watcher = FileWatcher(reactor)
    edges = []
    for number in range(int(count)):
        pair = Path(pki) / f"node-{number}"
        config = TunnelEdgeConfig(
            servers=[server],
            certificate=pair.with_suffix(".crt"),
            key=pair.with_suffix(".key"),
            ca=[Path(pki) / "ca.crt"],
        )
        edges.append(TunnelEdge(reactor, config, watcher))
    for edge in edges:
        edge.startService()
    before = 0

    def look() -> None:
        nonlocal before
        connected = sum(edge.connected_to is not None for edge in edges)
        if connected != before:
            word = "up" if connected > before else "down"
            print(word, connected, f"{time.monotonic():.3f}", flush=True)
            before = connected

    LoopingCall(look).start(LOOK_EVERY)
    return Deferred()


if __name__ == "__main__":
    react(main, sys.argv[1:])
