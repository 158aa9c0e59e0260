"""``python -m bench.grid.cloud``: the controller of the application grid on a real API server.

The nodes are objects without kubelets, and no garbage collector or other controller runs. Writes are counted
in the API server's audit log. Figures of the Go SuperEdge's controller are quoted from another machine, not
measured in the run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

from bench.harness import Workbench, console, cpu_seconds, workbench
from superedge.config.grid import ApplicationGridConfig
from superedge.testing.contracts.client import MERGE_PATCH, Client
from superedge.testing.ports import free_port
from tests.controlplane.build import build
from tests.controlplane.cluster import Cluster

USER = "grid-controller"
KEY = "example.com/site"
NODES = "/api/v1/nodes"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
GRIDS = "/apis/superedge.io/v1/namespaces/default/deploymentgrids"
GRID = f"{GRIDS}/shop"
CHANGES, STORM_RATE = 5, 100
DEFAULTS = ApplicationGridConfig()
POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "users": [USER], "verbs": ["create", "update", "patch", "delete"]},
        {"level": "None"},
    ],
}


class Rate(NamedTuple):
    """Of the controller's writes: a second on average, and at once after a pause."""

    qps: float
    burst: int


DEFAULT = Rate(DEFAULTS.qps, DEFAULTS.burst)
RAISED = Rate(1000.0, 2000)


class Writes(NamedTuple):
    """What the controller wrote in some time, of Deployments by name; ``refused`` changed nothing."""

    children: Counter[str]
    statuses: int
    others: int
    refused: int


class Plane:
    """An API server with its audit log, and the controller in front of it."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self.cluster = Cluster(bench.directory / "cluster")
        self._audit = bench.directory / "audit.log"
        self._read = 0
        self._ops = free_port()
        self.sites = 0

    def start(self) -> None:
        """Make the cluster."""
        policy = self._bench.directory / "audit.json"
        policy.write_text(json.dumps(POLICY))
        self.cluster.up(
            apiserver_arguments=[f"--audit-policy-file={policy}", f"--audit-log-path={self._audit}"]
        )
        pki = self.cluster.pki
        self.admin = Client(self.cluster.server, pki / "ca.crt", pki / "admin.crt", pki / "admin.key")
        identity = self.cluster.certificate(USER, ["system:masters"])
        self.cluster.kubeconfig(identity, self._bench.directory / "controller.kubeconfig")

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """The decoded answer. Raises SystemExit unless it is a success."""
        answer = self.admin.call(method, path, body, **more)
        if answer.status >= 300:
            raise SystemExit(f"bench: {method} {path}: {answer.body.decode()}")
        return answer.json

    def have_sites(self, sites: int) -> None:
        """So many nodes, each a site of its own."""

        def make(number: int) -> None:
            name = f"node-{number}"
            meta = {"name": name, "labels": {KEY: f"site-{number}", "kubernetes.io/hostname": name}}
            self.ask("POST", NODES, {"apiVersion": "v1", "kind": "Node", "metadata": meta})

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(make, range(self.sites, sites)))
        self.sites = sites

    @contextlib.contextmanager
    def controller(self, rate: Rate) -> Iterator[subprocess.Popen[bytes]]:
        """The process, which leads and has read the cluster."""
        process = self._bench.twistd(
            "superedge-cloud",
            f"""[ops]
listen = "127.0.0.1:{self._ops}"
[kubernetes]
kubeconfig = "{self._bench.directory}/controller.kubeconfig"
[application_grid]
install_crds = true
qps = {rate.qps}
burst = {rate.burst}
""",
        )
        wait(lambda: self._status().get("synced"), "the controller leads")
        yield process
        process.terminate()
        process.wait(30)

    def _status(self) -> dict[str, Any]:
        try:
            url = f"http://127.0.0.1:{self._ops}/superedge/status"
            with urllib.request.urlopen(url, timeout=3) as answer:
                found: dict[str, Any] = json.load(answer)["application_grid"]
                return found
        except OSError:
            return {}

    # -- the grid

    def apply(self) -> None:
        """A new grid."""
        self.ask(
            "POST",
            GRIDS,
            {
                "apiVersion": "superedge.io/v1",
                "kind": "DeploymentGrid",
                "metadata": {"name": "shop"},
                "spec": {"gridUniqKey": KEY, "template": _template("shop:0")},
            },
        )

    def change(self, image: str) -> None:
        """Another image for all sites."""
        self.ask("PATCH", GRID, {"spec": {"template": _template(image)}}, content_type=MERGE_PATCH)

    def remove(self) -> None:
        """The grid and, since no garbage collector runs, its Deployments."""
        self.ask("DELETE", GRID)
        self.ask("DELETE", DEPLOYMENTS)
        wait(lambda: not self.count(), "the Deployments are gone")

    def count(self) -> int:
        """How many Deployments there are."""
        page = self.ask("GET", DEPLOYMENTS, limit=1)
        return len(page["items"]) + int(page["metadata"].get("remainingItemCount", 0))

    def deployments(self) -> list[dict[str, Any]]:
        """All of them."""
        found: list[dict[str, Any]] = self.ask("GET", DEPLOYMENTS)["items"]
        return found

    def told(self) -> bool:
        """Whether the grid's status is about what it is now, and about all sites."""
        grid = self.ask("GET", GRID)
        status = grid.get("status", {})
        about: bool = status.get("observedGeneration") == grid["metadata"]["generation"]
        return about and status["updatedSites"] == status["sites"] == self.sites

    def writes(self) -> Writes:
        """What the controller wrote since this was asked before."""
        with self._audit.open("rb") as log:
            log.seek(self._read)
            lines = log.read().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n")]
        self._read += sum(map(len, whole))
        children: Counter[str] = Counter()
        kinds: Counter[str] = Counter()
        refused = 0
        for line in whole:
            entry = json.loads(line)
            what = entry["objectRef"]
            if entry["responseStatus"]["code"] >= 300:
                refused += 1
                continue
            kinds[what["resource"]] += 1
            if what["resource"] == "deployments":
                children[what["name"]] += 1
        others = kinds.total() - kinds["deployments"] - kinds["deploymentgrids"] - kinds["leases"]
        return Writes(children, kinds["deploymentgrids"], others, refused)


def _template(image: str) -> dict[str, Any]:
    labels = {"app": "shop"}
    container = {"name": "main", "image": image, "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}}}
    return {
        "replicas": 2,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
    }


def wait(condition: Callable[[], Any], what: str, seconds: float = 120.0, pause: float = 0.05) -> None:
    """Ask until it is so."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"bench: {what}: not within {seconds:g} s")
        time.sleep(pause)


def peak(process: subprocess.Popen[bytes]) -> float:
    """The most MB that a process had in memory (VmHWM)."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024


class Figures:
    """Rows with a target and what was quoted of the peer."""

    def __init__(self, title: str) -> None:
        self._table = Table(title=title)
        for column in ("", "superedge", "target", "SuperEdge in Go, quoted"):
            self._table.add_column(column)

    def add(self, what: str, value: float, unit: str, most: float | None = None, quoted: str = "") -> None:
        """One figure; red when it is beyond its target."""
        missed = most is not None and value > most
        text = f"{value:,.4g} {unit}".strip()
        target = "" if most is None else f"at most {most:,.4g}" if most else "none"
        self._table.add_row(what, f"[red]{text}[/]" if missed else text, target, quoted)

    def show(self) -> None:
        """Print them."""
        console.print(self._table)


def _fresh(plane: Plane, figures: Figures, rate: Rate) -> None:
    """A grid is applied."""
    sites = plane.sites
    name = f"{sites:,} sites, {'default' if rate == DEFAULT else 'raised'} rate"
    largest = sites == 1000
    with plane.controller(rate) as process:
        plane.writes()
        before = cpu_seconds(process.pid)
        started = time.monotonic()
        plane.apply()
        wait(lambda: plane.count() >= sites, "all Deployments", pause=0.02)
        taken = time.monotonic() - started
        wait(plane.told, "the status")
        time.sleep(2)
        used = cpu_seconds(process.pid) - before
        written = plane.writes()
        most = (15.0 if rate == DEFAULT else 3.0) if largest else None
        raised = largest and rate == RAISED
        figures.add(f"{name}: all Deployments after", taken, "s", most, "1.8 s" if raised else "")
        quoted = "1,541 of all kinds" if raised else ""
        figures.add("  writes of Deployments", written.children.total(), "", sites, quoted)
        figures.add("  writes of the status, Events", written.statuses + written.others, "")
        figures.add("  CPU", used, "s")
        figures.add("  memory at most", peak(process), "MB", 100, "37 to 72 MB" if largest else "")


def _rest(plane: Plane, figures: Figures, seconds: float) -> None:
    """A controller that has just been started on what is there already."""
    with plane.controller(DEFAULT) as process:
        plane.writes()
        before = cpu_seconds(process.pid)
        time.sleep(seconds)
        used = (cpu_seconds(process.pid) - before) / seconds
        written = plane.writes()
    total = written.children.total() + written.statuses + written.others
    figures.add(f"{plane.sites:,} sites, {seconds:g} s at rest: writes", total, "", 0)
    figures.add("  CPU", used * 100, "% of a core", 2)


def _storm(plane: Plane, figures: Figures) -> None:
    """The grid changes while another writer changes the Deployments."""
    names = [each["metadata"]["name"] for each in plane.deployments()]
    over = threading.Event()
    scales: dict[str, int] = {}

    def disturb() -> None:
        for number in range(1_000_000):
            name = names[number * 7 % len(names)]
            replicas = 3 + number % 5
            body = {"metadata": {"annotations": {"disturbed": str(number)}}, "spec": {"replicas": replicas}}
            plane.ask(
                "PATCH", f"{DEPLOYMENTS}/{name}", body, content_type=MERGE_PATCH, fieldManager="autoscaler"
            )
            scales[name] = replicas
            if over.wait(1 / STORM_RATE):
                return

    with plane.controller(RAISED) as process:
        plane.writes()
        before = cpu_seconds(process.pid)
        writer = threading.Thread(target=disturb)
        writer.start()
        written: list[Writes] = []
        for number in range(1, CHANGES + 1):
            image = f"shop:{number}"
            plane.change(image)
            wait(lambda: all(_image(each) == image for each in plane.deployments()), image, pause=0.3)  # noqa: B023
            time.sleep(1)
            written.append(plane.writes())
        over.set()
        writer.join()
        now = {each["metadata"]["name"]: each["spec"]["replicas"] for each in plane.deployments()}
        undone = sum(now[name] != replicas for name, replicas in scales.items())
        used = cpu_seconds(process.pid) - before
    total = sum(each.children.total() for each in written)
    figures.add(
        f"{plane.sites} sites, {CHANGES} changes, {len(scales)} Deployments scaled: writes",
        total,
        "",
        CHANGES * plane.sites,
        "1,200 for 5 changes",
    )
    figures.add(
        "  writes of one Deployment a change, at most",
        max(max(each.children.values()) for each in written),
        "",
        1,
    )
    figures.add("  refused, since it had just been scaled", sum(each.refused for each in written), "")
    figures.add("  Deployments whose scale was undone", undone, "", 0)
    figures.add("  CPU", used, "s")


def _image(deployment: dict[str, Any]) -> str:
    return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, nargs="+", default=[20, 200, 1000])
    parser.add_argument("--rest", type=float, default=20.0, metavar="SECONDS", help="600 is ten minutes")
    parser.add_argument("--storm", type=int, default=200, metavar="SITES")
    arguments = parser.parse_args()
    build()
    title = f"default rate: {DEFAULT.qps:g} writes a second, {DEFAULT.burst} at once; raised: {RAISED.qps:g}"
    figures = Figures(title)
    with workbench() as bench:
        plane = Plane(bench)
        try:
            plane.start()
            for sites in sorted({*arguments.sites, arguments.storm}):
                plane.have_sites(sites)
                _fresh(plane, figures, DEFAULT)
                plane.remove()
                _fresh(plane, figures, RAISED)
                if sites == max(arguments.sites):
                    _rest(plane, figures, arguments.rest)
                if sites == arguments.storm:
                    _storm(plane, figures)
                plane.remove()
        finally:
            plane.cluster.stop_all()
    figures.show()


if __name__ == "__main__":
    main()
