"""Start and stop a real control plane and real nodes by hand.

python -m tests.controlplane build             build the programs (minutes, once)
python -m tests.controlplane up DIR            start etcd and the API server; DIR/admin.kubeconfig
python -m tests.controlplane worker DIR NAME   start a node: kubelet, containerd, CNI (root); its image is
                                               test.local/box:1, with imagePullPolicy: Never
python -m tests.controlplane reboot DIR NAME   what a power cycle does to a worker
python -m tests.controlplane cert DIR NAME [ORGANIZATION]
python -m tests.controlplane stop DIR [COMPONENT]
python -m tests.controlplane start DIR COMPONENT
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.controlplane.build import build
from tests.controlplane.cluster import Cluster, ClusterError
from tests.controlplane.worker import Worker


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(
        prog="python -m tests.controlplane",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = root.add_subparsers(dest="command", required=True)
    commands.add_parser("build")
    up = commands.add_parser("up")
    up.add_argument("--port", type=int, default=0)
    up.add_argument("--controllers", action="store_true", help="also controller manager and scheduler")
    up.add_argument("--apiserver-arg", action="append", default=[])
    up.add_argument("--controller-arg", action="append", default=[])
    worker = commands.add_parser("worker")
    worker.add_argument("--server", default="", help="the API server it uses, e.g. a lite-apiserver")
    worker.add_argument("--subnet", default="198.18.5.0/24", help="addresses of its pods")
    worker.add_argument("--dns", default="169.254.20.10", help="the kubelet's clusterDNS")
    certificate = commands.add_parser("cert")
    rest = [commands.add_parser(name) for name in ("reboot", "stop", "start")]
    for command in (up, worker, certificate, *rest):
        command.add_argument("directory", type=Path)
    for command in (worker, certificate, rest[0]):
        command.add_argument("name")
    certificate.add_argument("organization", nargs="*")
    rest[1].add_argument("component", nargs="?", default="")
    rest[2].add_argument("component")
    return root


def stop(cluster: Cluster, component: str) -> None:
    """End one component, or everything."""
    if component:
        cluster.stop(component)
        return
    for name in list(cluster.state["components"]):
        if name.endswith("-containerd"):
            Worker(cluster, name.removesuffix("-containerd")).power_off()
    cluster.stop_all()


def main() -> None:
    """Do what was asked."""
    options = parser().parse_args()
    build()
    if options.command == "build":
        return
    cluster = Cluster(options.directory)
    if options.command == "up":
        cluster.up(options.port, options.controllers, options.apiserver_arg, options.controller_arg)
        print(cluster.server)
    elif options.command == "worker":
        Worker(cluster, options.name).start(options.server, options.subnet, options.dns)
    elif options.command == "reboot":
        worker = Worker(cluster, options.name)
        worker.power_off()
        worker.power_on()
    elif options.command == "cert":
        print(cluster.certificate(options.name, options.organization).certificate)
    elif options.command == "stop":
        stop(cluster, options.component)
    else:
        cluster.start(options.component)


if __name__ == "__main__":
    try:
        main()
    except ClusterError as problem:
        sys.exit(f"tests.controlplane: {problem}")
