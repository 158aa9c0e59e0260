"""lite-apiserver with HTTP/2 to the cloud beside itself with HTTP/1.1: same upstream, same run.

``python -m bench.http2 [--seconds N] [--json FILE]``; nginx is the upstream for both.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.harness import Report, Workbench, cpu_seconds, resident, wait_for_port, workbench, wrk
from bench.liteapiserver import POD, PODS, TOKEN, start_lite, write_answers
from bench.watchload import fan_out
from superedge.testing.ports import free_port

PROTOCOLS = ("all", "none")
WATCHES = 300
EVENTS = 300


class Load(NamedTuple):
    """Requests a second, milliseconds of the median, MB a second, microseconds of CPU for each request."""

    rate: float
    p50: float
    megabytes: float
    cpu: float


class Site:
    """nginx with files, and with watches behind it; a lite-apiserver for each protocol."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.upstream, self.watches = free_port(), free_port()
        pair, ca = bench.server, bench.authority.path
        server = (str(self.watches), str(pair.certificate), str(pair.key))
        bench.start("watches", sys.executable, "-m", "bench.watchserver", *server)
        files = write_answers(bench.directory)
        bench.nginx(
            "upstream",
            http=f"""server {{ listen 127.0.0.1:{self.upstream} ssl http2;
  ssl_certificate {pair.certificate}; ssl_certificate_key {pair.key};
  default_type application/json; add_header Audit-Id 1; root {files};
  location = /readyz {{ return 200 ok; }}
  location = {PODS} {{ alias {files}/list; }}
  location = /api/v1/namespaces/default/pods {{ proxy_pass https://127.0.0.1:{self.watches};
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; proxy_ssl_verify on;
    proxy_ssl_name localhost; proxy_ssl_trusted_certificate {ca}; }} }}""",
        )
        wait_for_port(self.upstream)
        wait_for_port(self.watches)

    def start(self, protocol: str) -> tuple[int, subprocess.Popen[bytes]]:
        """Port and process."""
        port = free_port()
        process = start_lite(self.bench, port, self.upstream, f"cache-{protocol}", http2=protocol)
        wrk(f"https://127.0.0.1:{port}{POD}", 1, 1, [TOKEN])
        return port, process

    def connections(self) -> int:
        """How many are established to the upstream."""
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(row[2].endswith(f":{self.upstream:04X}") and row[3] == "01" for row in rows)


class Highest:
    """The highest of the numbers that a function gives, asked now and then within a ``with`` block."""

    def __init__(self, number: Callable[[], int]) -> None:
        self._number = number
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.seen = 0

    def __enter__(self) -> Highest:
        self._thread.start()
        return self

    def __exit__(self, *_problem: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.2):
            self.seen = max(self.seen, self._number())


def load(port: int, process: subprocess.Popen[bytes], path: str, connections: int, seconds: float) -> Load:
    """What wrk measures, and the processor time."""
    before = cpu_seconds(process.pid)
    found = wrk(f"https://127.0.0.1:{port}{path}", connections, seconds, [TOKEN])
    cpu = cpu_seconds(process.pid) - before
    return Load(found.rate, found.p50, found.megabytes, 1e6 * cpu / max(found.rate * seconds, 1))


def requests(report: Report, site: Site, seconds: float) -> None:
    """Small GETs and a LIST."""
    sites = {protocol: site.start(protocol) for protocol in PROTOCOLS}
    for connections in (1, 32):
        over, plain = (load(*sites[protocol], POD, connections, seconds) for protocol in PROTOCOLS)
        more = f"p50 {over.p50:.2f}; {plain.p50:.2f} ms"
        what = f"GET 1 kB, {connections} connections"
        report.add(what, "requests/s", over.rate, plain.rate, more)
        report.add(f"{what}, CPU of one", "us", over.cpu, plain.cpu)
    over, plain = (load(*sites[protocol], PODS, 1, seconds) for protocol in PROTOCOLS)
    report.add("LIST 5 MB", "MB/s", over.megabytes, plain.megabytes)
    report.add("LIST 5 MB, CPU of one", "ms", over.cpu / 1000, plain.cpu / 1000)
    for _, process in sites.values():
        process.terminate()
        process.wait()


def watches(report: Report, site: Site) -> None:
    """Watches of one identity."""
    ca = site.bench.authority.path
    figures = []
    for protocol in PROTOCOLS:
        port, process = site.start(protocol)
        memory = resident(process)
        with Highest(site.connections) as highest:
            result = fan_out(port, site.watches, ca, TOKEN, process.pid, WATCHES, EVENTS)
        # The watches are closed by now, but a process seldom gives memory back.
        figures.append((result, resident(process) - memory, highest.seen))
        process.terminate()
        process.wait()
    (over, over_memory, over_count), (plain, plain_memory, plain_count) = figures
    what, delivered = f"{WATCHES} watches x {EVENTS} events", WATCHES * EVENTS
    report.add(f"{WATCHES} watches, connections", "", over_count, plain_count)
    report.add(what, "events/s", delivered / over.seconds, delivered / plain.seconds)
    each = 1e6 / delivered
    report.add(f"{what}, CPU of an event", "us", over.cpu * each, plain.cpu * each)
    report.add(f"{what}, memory", "MB", over_memory, plain_memory)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report = Report("lite-apiserver: HTTP/2 to the cloud (peer: HTTP/1.1)")
    with workbench() as bench:
        site = Site(bench)
        requests(report, site, options.seconds)
        watches(report, site)
    report.show(options.json)


if __name__ == "__main__":
    main()
