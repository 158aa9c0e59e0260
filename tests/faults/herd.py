"""``python -m tests.faults.herd PORT PKI NAME...``: the edge ends of many nodes in one process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from superedge.config.tunnel import TunnelEdgeConfig
from superedge.interfaces import IReactor
from superedge.tls.reload import FileWatcher
from superedge.tunnel.edge import TunnelEdge


def main() -> None:
    """Start them, and run until killed."""
    port, directory, names = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]

    def run(reactor: Any) -> Deferred[None]:
        watcher = FileWatcher(cast(IReactor, reactor))
        for name in names:
            config = TunnelEdgeConfig(
                servers=[f"127.0.0.1:{port}"],
                certificate=directory / f"{name}.crt",
                key=directory / f"{name}.key",
                ca=[directory / "ca.crt"],
            )
            TunnelEdge(cast(IReactor, reactor), config, watcher).startService()
        return Deferred()

    react(run)


if __name__ == "__main__":
    main()
