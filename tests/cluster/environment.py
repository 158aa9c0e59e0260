"""A control plane, workers and SuperEdge's processes, for one test class at a time."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.controlplane.build import build
from tests.controlplane.cluster import Cluster
from tests.controlplane.worker import Worker

ENABLED = os.environ.get("SUPEREDGE_CLUSTER_TESTS") == "1" and os.geteuid() == 0
SKIP = None if ENABLED else "set SUPEREDGE_CLUSTER_TESTS=1 and be root to run it on a real control plane"

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  nodeName: {node}
  tolerations: [{{operator: Exists}}]
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: test.local/box:1
    imagePullPolicy: Never
    command: [sh, -c, "httpd -p 8080 -h /tmp; n=0; while true; do n=$((n+1)); echo tick $n; sleep 1; done"]
"""


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> Any:
    """Ask again until the answer is true. Raises AssertionError when that takes too long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {seconds:g} s")


class Environment:
    """One cluster under a temporary directory; `stop` ends everything and removes it."""

    def __init__(self) -> None:
        build()
        self.directory = Path(tempfile.mkdtemp(prefix="superedge-cluster-"))
        self.cluster = Cluster(self.directory / "cluster")
        self.kubeconfig = self.cluster.directory / "admin.kubeconfig"
        """What kubectl goes by, unless it is told otherwise."""
        self.workers: list[Worker] = []
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.last: list[Callable[[], object]] = []
        """Called at the end, when nothing runs any more."""

    def worker(self, name: str, server: str = "", number: int = 5) -> Worker:
        """Start a node and wait until it is ready."""
        worker = Worker(self.cluster, name)
        self.workers.append(worker)
        worker.start(server, subnet=f"198.18.{number}.0/24")
        self.wait_for_node(name)
        return worker

    def wait_for_node(self, name: str, seconds: float = 90.0) -> None:
        """Until the cloud sees the node ready."""
        path = '{.status.conditions[?(@.type=="Ready")].status}'
        wait_until(
            lambda: self.try_kubectl("get", "node", name, "-o", f"jsonpath={path}").stdout == "True",
            f"node {name} is ready",
            seconds,
        )

    def run_pod(self, name: str, node: str) -> None:
        """Make a pod that ticks and serves HTTP, and wait until it runs."""
        wait_until(
            lambda: self.try_kubectl("get", "serviceaccount", "default").returncode == 0, "a service account"
        )
        self.kubectl("apply", "-f", "-", stdin=POD.format(name=name, node=node))
        self.kubectl("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")

    # -- kubectl

    def command(self, *arguments: str, kubeconfig: Path | None = None) -> list[str]:
        """The command line of kubectl."""
        program = shutil.which("kubectl", path=str(Path(sys.executable).parent)) or "kubectl"
        return [
            program,
            f"--kubeconfig={kubeconfig or self.kubeconfig}",
            f"--cache-dir={self.directory}/kubectl",
            *arguments,
        ]

    def try_kubectl(
        self, *arguments: str, stdin: str = "", kubeconfig: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl, whatever comes of it."""
        command = self.command(*arguments, kubeconfig=kubeconfig)
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=90, check=False)

    def kubectl(self, *arguments: str, stdin: str = "", kubeconfig: Path | None = None) -> str:
        """kubectl's output. Raises AssertionError when it fails."""
        done = self.try_kubectl(*arguments, stdin=stdin, kubeconfig=kubeconfig)
        if done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    # -- SuperEdge

    def twistd(self, name: str, command: str, config: str = "") -> None:
        """Start a process with this configuration, or again with the one it had."""
        path = self.directory / f"{name}.toml"
        if config:
            path.write_text(config)
        twistd = str(Path(sys.executable).with_name("twistd"))
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [twistd, "--nodaemon", "--pidfile=", command, "--config", str(path)], stdout=log, stderr=log
            )

    def end(self, name: str, sign: signal.Signals = signal.SIGTERM) -> None:
        """End one of them."""
        process = self.processes.pop(name)
        process.send_signal(sign)
        process.wait(30)

    def status(self, port: int) -> dict[str, Any]:
        """The lite-apiserver part of a status page; empty while it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/superedge/status", timeout=2) as answer:
                found: dict[str, Any] = json.load(answer)["lite_apiserver"]
                return found
        except OSError:
            return {}

    def stop(self) -> None:
        """End everything."""
        for worker in self.workers:
            worker.power_off()
        for name in list(self.processes):
            self.end(name, signal.SIGKILL)
        self.cluster.stop_all()
        for undo in self.last:
            undo()
        shutil.rmtree(self.directory, ignore_errors=True)


class _Current:
    """The environment in use: the next class ends it, or the end of the run."""

    owner: type | None = None
    environment: Environment | None = None

    def of(self, case: type[EnvironmentCase]) -> Environment:
        """The environment of a test class, made for the first of its tests."""
        if self.owner is not case or self.environment is None:
            self.end()
            self.owner = case
            self.environment = Environment()
            case.prepare(self.environment)
        return self.environment

    def end(self) -> None:
        """Stop what runs."""
        environment, self.environment = self.environment, None
        if environment is not None:
            environment.stop()


_current = _Current()
atexit.register(_current.end)


class EnvironmentCase(SynchronousTestCase):
    """A test class whose tests share an environment of their own, made by `prepare`."""

    skip = SKIP
    environment: Environment

    @classmethod
    def prepare(cls, environment: Environment) -> None:
        """Start what the class needs."""
        raise NotImplementedError

    def setUp(self) -> None:
        self.environment = _current.of(type(self))
