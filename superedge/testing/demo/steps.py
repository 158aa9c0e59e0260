"""What the demo shows, step by step; each fails the demo if it is not as promised."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from superedge.testing.demo.informer import Informer
from superedge.testing.demo.stage import DemoError, Stage, wait_until

PODS = {"web-0", "web-1"}

console = Console(highlight=False)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Print a step and how long it took."""
    console.print(f"[bold]•[/] {text} ", end="")
    started = time.monotonic()
    yield
    console.print(f"[green]ok[/] [dim]{time.monotonic() - started:.1f} s[/]")


def expect(condition: bool, message: str) -> None:
    """Raise DemoError unless the condition holds."""
    if not condition:
        raise DemoError(message)


def play(stage: Stage) -> None:
    """All of it."""
    start(stage)
    show_tunnel(stage)
    informer = show_reads(stage)
    show_outage(stage, informer)
    show_recovery(stage, informer)


def start(stage: Stage) -> None:
    """Every process."""
    with step("an embedded cluster with two nodes whose kubelets listen on loopback alone"):
        stage.start_cluster()
        nodes = stage.kubectl("get", "nodes", "-o", "name").split()
        expect(nodes == ["node/edge-1", "node/edge-2"], f"kubectl said {nodes}")
    with step("the cloud end and two edge nodes, each a twistd process; the nodes dial out over one link"):
        stage.write_configs()
        stage.start_link()
        stage.twistd("cloud", "superedge-cloud")
        for node in stage.nodes:
            stage.twistd(node.name, "superedge-edge")
        wait_until(lambda: stage.connected(*stage.nodes), "both nodes connect")


def show_tunnel(stage: Stage) -> None:
    """The cloud reaches kubelets by node name."""
    for node, pod in zip(stage.nodes, sorted(PODS), strict=True):
        with step(f"tunnel: kubectl logs {pod}, which runs on {node.name}"):
            said = stage.kubectl("logs", pod)
            expect(said == f"hello from {pod} on {node.name}\n", f"kubectl said {said!r}")
    with step("tunnel: kubectl exec web-1 -- echo"):
        said = stage.kubectl("exec", "web-1", "--", "echo", "from the pod")
        expect(said == "from the pod\n", f"kubectl said {said!r}")
    with step("tunnel: a port that the node does not allow is refused, and says so"):
        status, reason = stage.connect("edge-1:22")
        expect(status == 403 and "allow list" in reason, f"the answer was {status} {reason}")


def show_reads(stage: Stage) -> Informer:
    """The node reads through its own API server."""
    node = stage.nodes[0]
    with step("lite-apiserver: kubectl get pods at edge-1's own API server, with edge-1's identity"):
        wait_until(lambda: stage.state(node) == "online", "edge-1 finds the cloud")
        found = set(stage.kubectl("get", "pods", "-o", "name", node=node).split())
        expect(found == {f"pod/{name}" for name in PODS}, f"kubectl said {found}")
    with step("lite-apiserver: a client there lists and watches the pods"):
        informer = stage.informer(node)
        wait_until(lambda: informer.names == PODS and informer.watches, "the client knows the pods")
    return informer


def show_outage(stage: Stage, informer: Informer) -> None:
    """The link is cut; the node goes on with what it knows, a restart included."""
    node = stage.nodes[0]
    with step("[yellow]the link is cut[/]: the cloud loses both nodes"):
        stage.stop("link", signal.SIGKILL)
        wait_until(lambda: not stage.connected(node), "the cloud notices")
    with step("edge-1: the same read is still served, and the watch is held open"):
        reads_are_served(stage)
        expect(informer.names == PODS, f"the client knows {informer.names}")
    with step("edge-1: a write is refused at once, and says why"):
        said = stage.refusal(node, "create", "configmap", "settings", "--from-literal=a=b")
        expect("the cloud is unreachable" in said, f"kubectl said {said}")
    with step("edge-1: what is proven not to exist is 404, what is not known is 503"):
        said = stage.refusal(node, "get", "pod", "web-9")
        expect("NotFound" in said, f"kubectl said {said}")
        said = stage.refusal(node, "get", "secrets")
        expect("does not hold secrets" in said, f"kubectl said {said}")
    with step("[yellow]edge-1 is killed (kill -9) and started again[/], still offline: reads are served"):
        stage.stop(node.name, signal.SIGKILL)
        stage.twistd(node.name, "superedge-edge")
        wait_until(lambda: stage.state(node) == "offline", "edge-1 is up again")
        reads_are_served(stage)


def reads_are_served(stage: Stage) -> None:
    """The node's kubectl shows what it showed."""
    found = set(stage.kubectl("get", "pods", "-o", "name", node=stage.nodes[0]).split())
    expect(found == {f"pod/{name}" for name in PODS}, f"kubectl said {found}")


def show_recovery(stage: Stage, informer: Informer) -> None:
    """The link is back; everything goes on."""
    node = stage.nodes[0]
    with step("[yellow]the link is back[/]: both nodes reconnect, edge-1 reads from the cloud again"):
        stage.start_link()
        wait_until(lambda: stage.connected(*stage.nodes), "both nodes reconnect")
        wait_until(lambda: stage.state(node) == "online", "edge-1 finds the cloud")
    with step("a pod made in the cloud now reaches edge-1's client through its resumed watch"):
        stage.kubectl("run", "late", "--image=test.local/box:1")
        wait_until(lambda: informer.names == PODS | {"late"}, "the client sees the pod")
        expect(informer.lists == 1, f"the client listed {informer.lists} times")
    with step("kubectl logs goes through the tunnel again; metrics count two sessions"):
        expect(stage.kubectl("logs", "web-0") == "hello from web-0 on edge-1\n", "other logs")
        wait_until(lambda: stage.sessions() == 2, "the metrics agree")
