"""``python -m superedge.testing --directory DIR`` runs an embedded cluster.

When it is ready, it writes ``DIR/cluster.json`` and prints the same as one line: ``server``, ``directory``,
``kubeconfig``, ``pid``, ``nodes``, ``kubelet_ports``. SIGTERM stops it. SIGUSR1 compacts the history of
objects: requests with older versions and continue tokens then get 410.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.logger import globalLogBeginner, textFileLogObserver

from superedge.config.addresses import parse_address
from superedge.interfaces import IReactor
from superedge.testing.cluster import EmbeddedCluster


async def run(reactor: Any, options: argparse.Namespace) -> None:
    """Serve until SIGTERM."""
    cluster = EmbeddedCluster(
        cast(IReactor, reactor),
        options.directory.resolve(),
        options.port,
        options.node or ("edge-1", "edge-2"),
        egress=options.egress,
    )
    await cluster.start()
    ready = {
        "server": cluster.server,
        "directory": str(cluster.directory),
        "kubeconfig": str(cluster.directory / "admin.kubeconfig"),
        "pid": os.getpid(),
        "nodes": list(cluster.nodes),
        "kubelet_ports": {node: kubelet.port for node, kubelet in cluster.kubelets.items()},
    }
    signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(cluster.store.compact))
    state = cluster.directory / "cluster.json"
    temporary = state.with_suffix(".new")
    temporary.write_text(json.dumps(ready))
    temporary.replace(state)
    print(json.dumps(ready), flush=True)  # noqa: T201
    stopping: Deferred[None] = Deferred()
    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(cluster.stop()))
    await stopping


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(prog="python -m superedge.testing", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--node", action="append", help="a node's name; may be repeated")
    parser.add_argument(
        "--egress", type=parse_address, metavar="unix:PATH", help="a CONNECT proxy that leads to the kubelets"
    )
    options = parser.parse_args()
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    react(lambda reactor: Deferred.fromCoroutine(run(reactor, options)))


main()
