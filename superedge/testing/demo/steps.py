"""What the demo shows, step by step; each fails the demo if it is not as promised."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

from superedge.testing.demo import grid
from superedge.testing.demo.informer import Informer
from superedge.testing.demo.stage import DemoError, Stage, wait_until

PODS = {"web-0", "web-1"}

WIDTH = 80
_QUOTED = 2
"""Lines of a program's output that a step shows."""

console = Console(highlight=False, width=WIDTH, record=True)


@contextmanager
def step(text: str) -> Iterator[Callable[[str], None]]:
    """Print a step, the output that it hands to the given function, and how long it took."""
    console.print(f"[bold]•[/] {text}")
    started = time.monotonic()
    outputs: list[str] = []
    yield outputs.append
    lines = [line for output in outputs for line in output.splitlines() if line.strip()]
    for line in lines[:_QUOTED]:
        console.print(Text(f"  {line}"[:WIDTH], "cyan"))
    console.print(f"  [green]ok[/] [dim]{time.monotonic() - started:.1f} s[/]")


def expect(condition: bool, message: str) -> None:
    """Raise DemoError unless the condition holds."""
    if not condition:
        raise DemoError(message)


def play(stage: Stage) -> None:
    """All of it."""
    start(stage)
    show_tunnel(stage)
    informer = show_reads(stage)
    show_grid(stage)
    show_outage(stage, informer)
    show_recovery(stage, informer)


def start(stage: Stage) -> None:
    """Every process."""
    with step("an embedded cluster: two nodes whose kubelets listen on loopback alone") as show:
        stage.start_cluster()
        said = stage.kubectl("get", "nodes", "--no-headers")
        expect(
            [line.split()[0] for line in said.splitlines()] == ["edge-1", "edge-2"], f"kubectl said {said}"
        )
        show(said)
    with step("the cloud end and two edge nodes, which dial out over one link") as show:
        stage.write_configs()
        stage.start_link()
        stage.start("cloud", "cloud")
        for node in stage.nodes:
            stage.start(node.name, "edge")
        wait_until(lambda: stage.connected(*stage.nodes), "both nodes connect")
        show("\n".join(stage.log_lines("cloud", "tunnel session of")))


def show_tunnel(stage: Stage) -> None:
    """The cloud reaches kubelets by node name."""
    for node, pod in zip(stage.nodes, sorted(PODS), strict=True):
        with step(f"tunnel: kubectl logs {pod}, which runs on {node.name}") as show:
            said = stage.kubectl("logs", pod)
            expect(said == f"hello from {pod} on {node.name}\n", f"kubectl said {said!r}")
            show(said)
    with step("tunnel: kubectl exec web-1 -- echo from the pod") as show:
        said = stage.kubectl("exec", "web-1", "--", "echo", "from the pod")
        expect(said == "from the pod\n", f"kubectl said {said!r}")
        show(said)
    with step("edge health: the nodes probe each other and vote, the cloud judges") as show:
        alive = {node.name: "alive" for node in stage.nodes}
        wait_until(lambda: stage.verdicts() == alive, "both nodes are alive for each other")
        show(f"verdicts: {stage.verdicts()}")
    with step("tunnel: a port that the node does not allow is refused, with the reason") as show:
        status, reason = stage.connect("edge-1:22")
        expect(status == 403 and "allow list" in reason, f"the answer was {status} {reason}")
        show(f"{status} {reason}")


def show_reads(stage: Stage) -> Informer:
    """The node reads through its own API server."""
    node = stage.nodes[0]
    with step("lite-apiserver: kubectl get pods at edge-1's own API server") as show:
        wait_until(lambda: stage.state(node) == "online", "edge-1 finds the cloud")
        reads_are_served(stage, show)
    with step("lite-apiserver: a client there lists and watches the pods"):
        informer = stage.informer(node)
        wait_until(lambda: informer.names == PODS and informer.watches, "the client knows the pods")
    return informer


def show_grid(stage: Stage) -> None:
    """One definition for two sites."""
    with step("application grid: one DeploymentGrid makes a Deployment for each site") as show:
        show(grid.apply(stage))
    with step("application grid: a Service shows each node the endpoints of its own site") as show:
        grid.only_its_own(stage, show, *stage.nodes)


def show_outage(stage: Stage, informer: Informer) -> None:
    """The link is cut; the node goes on with what it knows, a restart included."""
    node = stage.nodes[0]
    with step("[yellow]the link is cut[/]: the cloud loses both nodes"):
        stage.stop("link", signal.SIGKILL)
        wait_until(lambda: not stage.connected(node), "the cloud notices")
    with step("edge-1: the same read is still served, and the watch is held open") as show:
        reads_are_served(stage, show)
        expect(informer.names == PODS, f"the client knows {informer.names}")
    with step("edge-1: the Service still shows the endpoints of its own site alone") as show:
        grid.only_its_own(stage, show, node)
    with step("edge health: edge-1 still reaches edge-2 and says so; the cloud evicts neither") as show:
        expect(stage.says(node) == {"edge-2": "healthy"}, f"edge-1 says {stage.says(node)}")
        expect("dead" not in stage.verdicts().values(), f"the cloud says {stage.verdicts()}")
        show(f"edge-1 says: {stage.says(node)}")
    with step("edge-1: a write is refused at once, and says why") as show:
        said = stage.refusal(node, "create", "configmap", "settings", "--from-literal=a=b")
        expect("the cloud is unreachable" in said, f"kubectl said {said}")
        show(said)
    with step("edge-1: what is proven not to exist is 404, what is not known is 503") as show:
        said = stage.refusal(node, "get", "pod", "web-9")
        expect("NotFound" in said, f"kubectl said {said}")
        show(said)
        said = stage.refusal(node, "get", "secrets")
        expect("does not hold secrets" in said, f"kubectl said {said}")
        show(said)
    with step("[yellow]kill -9 of edge-1 and a new start[/], still offline: reads are served") as show:
        stage.stop(node.name, signal.SIGKILL)
        stage.start(node.name, "edge")
        wait_until(lambda: stage.state(node) == "offline", "edge-1 is up again")
        reads_are_served(stage, show)


def reads_are_served(stage: Stage, show: Callable[[str], None]) -> None:
    """The node's kubectl shows the pods."""
    said = stage.kubectl("get", "pods", "--no-headers", node=stage.nodes[0])
    expect({line.split()[0] for line in said.splitlines()} == PODS, f"kubectl said {said}")
    show(said)


def show_recovery(stage: Stage, informer: Informer) -> None:
    """The link is back; everything goes on."""
    node = stage.nodes[0]
    with step("[yellow]the link is back[/]: both nodes reconnect, edge-1 reads from the cloud"):
        stage.start_link()
        wait_until(lambda: stage.connected(*stage.nodes), "both nodes reconnect")
        wait_until(lambda: stage.state(node) == "online", "edge-1 finds the cloud")
    with step("a pod created in the cloud reaches edge-1's client through its resumed watch") as show:
        show(stage.kubectl("run", "late", "--image=test.local/box:1"))
        wait_until(lambda: informer.names == PODS | {"late"}, "the client sees the pod")
        expect(informer.lists == 1, f"the client listed {informer.lists} times")
    with step("kubectl logs goes through the tunnel again; metrics count two sessions") as show:
        said = stage.kubectl("logs", "web-0")
        expect(said == "hello from web-0 on edge-1\n", f"kubectl said {said!r}")
        show(said)
        wait_until(lambda: stage.sessions() == 2, "the metrics agree")
