"""What the measurements share: processes, nginx, wrk, tables."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from superedge.tls.authority import Authority
from superedge.tls.identity import Identity

console = Console(width=110)

PACKAGES = {
    "nginx": "nginx-light",
    "wrk": "wrk",
    "dnsperf": "dnsperf",
    "dnsmasq": "dnsmasq-base",
    "unbound": "unbound",
}


def program(name: str) -> str:
    """The path of a peer or tool; ends the run with the package to install when it is not there."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if found is None:
        sys.exit(f"bench: {name} is not installed: apt-get install {PACKAGES[name]}")
    return found


def wait_for_port(port: int, seconds: float = 10.0) -> float:
    """Seconds until something listens."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return time.monotonic() - started
        time.sleep(0.005)
    raise SystemExit(f"bench: nothing listens on port {port} after {seconds} s")


class Workbench:
    """A directory with certificates, and processes that end with it."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="superedge-bench-"))
        self.authority = Authority.create(self.directory / "pki", "bench")
        self.server = self.issue("server")
        self._processes: list[subprocess.Popen[bytes]] = []
        here = str(Path(__file__).resolve().parent.parent)
        self._environment = {**os.environ, "PYTHONPATH": here}

    def issue(self, name: str, organizations: Sequence[str] = ()) -> Identity:
        """A pair for loopback."""
        return self.authority.issue(
            name, organizations, ["localhost"], ["127.0.0.1"], directory=self.directory / "pki", name=name
        )

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """A process whose output goes to a file."""
        with (self.directory / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=self._environment)
        self._processes.append(process)
        return process

    def nginx(self, name: str, http: str = "", stream: str = "") -> subprocess.Popen[bytes]:
        """A single-worker nginx with these server blocks."""
        module = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
        # As root nginx would change to a user who may not read this directory.
        user = "user root;" if os.geteuid() == 0 else ""
        load = f"load_module {module};" if stream and module.exists() else ""
        config = self.directory / f"{name}.conf"
        config.write_text(
            f"""{load}
{user}
worker_processes 1;
daemon off;
pid {self.directory}/{name}.pid;
error_log {self.directory}/{name}.error;
events {{ worker_connections 8192; }}
"""
            + (f"http {{ access_log off; keepalive_requests 1000000;\n{http}\n}}\n" if http else "")
            + (f"stream {{\n{stream}\n}}\n" if stream else "")
        )
        return self.start(name, program("nginx"), "-c", str(config), "-p", str(self.directory))

    def twistd(self, command: str, config: str) -> subprocess.Popen[bytes]:
        """``superedge-cloud`` or ``superedge-edge`` with a configuration."""
        path = self.directory / f"{command}.toml"
        path.write_text(config)
        twistd = str(Path(sys.executable).with_name("twistd"))
        return self.start(command, twistd, "--nodaemon", "--pidfile=", command, "--config", str(path))

    def close(self) -> None:
        """End the processes and remove the directory."""
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


@contextlib.contextmanager
def workbench() -> Iterator[Workbench]:
    """A workbench that is cleaned up whatever happens."""
    bench = Workbench()
    try:
        yield bench
    finally:
        bench.close()


def resident(process: subprocess.Popen[bytes]) -> float:
    """MB that a process has in memory (VmRSS)."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


class Rate(NamedTuple):
    """What wrk measured: requests a second, and the latencies in milliseconds."""

    rate: float
    p50: float
    p99: float
    megabytes: float


_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def wrk(
    url: str, connections: int, seconds: float, headers: Sequence[str] = (), distinct: bool = False
) -> Rate:
    """Load a URL; with ``distinct`` every request adds a query of its own."""
    command = [program("wrk"), "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency"]
    if distinct:
        command += ["-s", str(Path(__file__).with_name("distinct.lua"))]
    for header in headers:
        command += ["-H", header]
    text = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in text or "Socket errors" in text:
        console.print(f"[red]{text}[/]")

    def latency(name: str) -> float:
        found = re.search(rf"{name}%\s+([\d.]+)(us|ms|s)", text)
        return float(found[1]) * _UNITS[found[2]] if found else 0.0

    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    size = re.search(r"Transfer/sec:\s+([\d.]+)([KMG]?)B", text)
    scale = {"": 1e-6, "K": 1e-3, "M": 1.0, "G": 1e3}
    return Rate(
        float(rate[1]) if rate else 0.0,
        latency("50"),
        latency("99"),
        float(size[1]) * scale[size[2]] if size else 0.0,
    )


class Report:
    """Rows of figures with the peer's beside them."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._rows: list[dict[str, Any]] = []

    def add(self, what: str, unit: str, ours: float, peer: float | None = None, more: str = "") -> None:
        """One figure; ``peer`` was measured in the same run."""
        ratio = round(ours / peer, 3) if peer else None
        self._rows.append(
            {"what": what, "unit": unit, "ours": ours, "peer": peer, "ratio": ratio, "more": more}
        )
        console.print(
            f"[dim]{what}: {ours:,.5g} {unit}" + (f", peer {peer:,.5g}, ratio {ratio}" if peer else "")
        )

    def show(self, path: Path | None = None) -> None:
        """Print the table, and write it as JSON when a path is given."""
        table = Table(title=self._title)
        for column in ("what", "unit", "superedge", "peer", "ratio", ""):
            table.add_column(column, justify="left" if column in ("what", "unit", "") else "right")
        for row in self._rows:
            peer = "" if row["peer"] is None else f"{row['peer']:,.4g}"
            ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
            table.add_row(row["what"], row["unit"], f"{row['ours']:,.4g}", peer, ratio, row["more"])
        console.print(table)
        if path is not None:
            path.write_text(json.dumps({"title": self._title, "rows": self._rows}, indent=1))
