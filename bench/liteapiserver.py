"""lite-apiserver beside nginx as a reverse proxy: same upstream, TLS on both sides, one process each.

``python -m bench.liteapiserver [--seconds N] [--gets] [--json FILE]``
"""

from __future__ import annotations

import argparse
import json
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from bench.harness import (
    Rate,
    Report,
    Workbench,
    cpu_seconds,
    resident,
    wait_for_port,
    workbench,
    wrk,
)
from bench.watchload import commit_share, fan_out
from superedge.testing.ports import free_port

POD = "/api/v1/namespaces/default/pods/web-0"
PODS = "/api/v1/pods"
MANY = "/api/v1/namespaces/default/pods"
TOKEN = "Authorization: Bearer bench-token"
LIST_BYTES = 5_000_000
OBJECTS = 10_000
SETTLED = 10.0
"""Seconds after which a burst is over and its memory is given back."""


def pod(name: str, padding: int = 700) -> dict[str, Any]:
    """A pod of about a kilobyte."""
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": "bd1c0f2c-22a3-4c7e-bbbd-f3d30abe14b4",
            "resourceVersion": "1000",
            "labels": {"app": "web", "pod-template-hash": "548c9b897"},
            "annotations": {"padding": "x" * padding},
        },
        "spec": {"nodeName": "edge-1", "containers": [{"name": "main", "image": "test.local/box:1"}]},
        "status": {"phase": "Running", "podIP": "10.64.0.2"},
    }


def list_of(items: list[dict[str, Any]]) -> bytes:
    """A list's body."""
    head = {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": "2000"}}
    return json.dumps({**head, "items": items}).encode()


def start_lite(
    bench: Workbench, port: int, upstream: int, cache: str, store: str = "file", http2: str = "watches"
) -> subprocess.Popen[bytes]:
    """lite-apiserver on a port, in front of another."""
    pair, ca = bench.server, bench.authority.path
    process = bench.twistd(
        "superedge-edge",
        f"""[lite_apiserver]
listen = ["127.0.0.1:{port}"]
certificate = "{pair.certificate}"
key = "{pair.key}"
client_ca = ["{ca}"]
[lite_apiserver.upstream]
servers = ["127.0.0.1:{upstream}"]
ca = ["{ca}"]
http2 = "{http2}"
[lite_apiserver.cache]
path = "{bench.directory}/{cache}"
store = "{store}"
""",
    )
    wait_for_port(port)
    return process


def worker_of(nginx: subprocess.Popen[bytes]) -> int:
    """The process of an nginx that does the work: the master listens a moment before it has one."""
    children = Path(f"/proc/{nginx.pid}/task/{nginx.pid}/children")
    for _ in range(500):
        if found := children.read_text().split():
            return int(found[0])
        time.sleep(0.01)
    raise SystemExit("bench: nginx has no worker")


def write_answers(directory: Path) -> Path:
    """Where an nginx finds a pod, and a list of LIST_BYTES."""
    files = directory / "files"
    one = files / POD.lstrip("/")
    one.parent.mkdir(parents=True)
    one.write_bytes(json.dumps({"kind": "Pod", "apiVersion": "v1", **pod("web-0")}).encode())
    size = len(json.dumps(pod("web-00000")))
    (files / "list").write_bytes(list_of([pod(f"web-{n:05}") for n in range(LIST_BYTES // size)]))
    return files


class Site:
    """Upstream and both proxies."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.upstream_port, self.nginx_port, self.lite_port = free_port(), free_port(), free_port()
        files = write_answers(bench.directory)
        (files / "many").write_bytes(list_of([pod("web-0"), *(pod(f"web-{n:05}") for n in range(OBJECTS))]))
        self.files = files
        self.upstream: subprocess.Popen[bytes] | None = None
        self.start_upstream()
        pair = bench.server
        tls = f"ssl_certificate {pair.certificate}; ssl_certificate_key {pair.key};"
        self.nginx = bench.nginx(
            "proxy",
            http=f"""upstream api {{ server 127.0.0.1:{self.upstream_port}; keepalive 64; }}
server {{ listen 127.0.0.1:{self.nginx_port} ssl; {tls}
  location / {{ proxy_pass https://api; proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_ssl_verify on; proxy_ssl_trusted_certificate {bench.authority.path}; proxy_ssl_name localhost;
    proxy_buffering on; }} }}""",
        )
        wait_for_port(self.nginx_port)
        self.nginx_worker = worker_of(self.nginx)
        self.lite = self.start_lite()

    def start_upstream(self) -> None:
        """An API server's fastest stand-in: nginx with files."""
        pair = self.bench.server
        self.upstream = self.bench.nginx(
            "upstream",
            http=f"""server {{ listen 127.0.0.1:{self.upstream_port} ssl;
  ssl_certificate {pair.certificate}; ssl_certificate_key {pair.key};
  default_type application/json; add_header Audit-Id $request_id; root {self.files};
  location = /readyz {{ return 200 ok; }}
  location = {PODS} {{ alias {self.files}/list; }}
  location = {MANY} {{ alias {self.files}/many; }} }}""",
        )
        wait_for_port(self.upstream_port)

    def start_lite(self) -> subprocess.Popen[bytes]:
        """The process that is measured."""
        return start_lite(self.bench, self.lite_port, self.upstream_port, "cache")

    def fetch(self, port: int, path: str) -> bytes:
        """One request."""
        context = ssl.create_default_context(cafile=str(self.bench.authority.path))
        request = urllib.request.Request(f"https://127.0.0.1:{port}{path}")
        request.add_header(*TOKEN.split(": "))
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:
            body: bytes = answer.read()
        return body

    def fetch_soon(self, port: int, path: str) -> float:
        """Seconds until a request is answered with success."""
        started = time.monotonic()
        while time.monotonic() - started < 20:
            try:
                self.fetch(port, path)
                return time.monotonic() - started
            except OSError:
                time.sleep(0.01)
        raise SystemExit(f"bench: no answer to {path}")


class Load(NamedTuple):
    """What wrk measured, and the processor time of a request, microseconds."""

    rate: Rate
    cpu: float


def load(port: int, pid: int, path: str, connections: int, seconds: float, distinct: bool = False) -> Load:
    """Ask for a path through a proxy."""
    cpu = cpu_seconds(pid)
    rate = wrk(f"https://127.0.0.1:{port}{path}", connections, seconds, [TOKEN], distinct)
    return Load(rate, (cpu_seconds(pid) - cpu) / max(1.0, rate.rate * seconds) * 1e6)


def gets(report: Report, site: Site, seconds: float, how: str, peer: bool) -> None:
    """A GET of one object at 1 and 32 connections; a proxy may know a request that it has seen before."""
    for connections, distinct in ((1, False), (32, False), (32, True)):
        what = f"GET 1 kB, {connections} connections, {'no two alike, ' if distinct else ''}{how}"
        nginx = (
            load(site.nginx_port, site.nginx_worker, POD, connections, seconds, distinct) if peer else None
        )
        ours = load(site.lite_port, site.lite.pid, POD, connections, seconds, distinct)
        report.add(what, "requests/s", ours.rate.rate, nginx.rate.rate if nginx else None)
        report.add(f"{what}, p50", "ms", ours.rate.p50, nginx.rate.p50 if nginx else None)
        report.add(f"{what}, p99", "ms", ours.rate.p99, nginx.rate.p99 if nginx else None)
        report.add(f"{what}, CPU", "us", ours.cpu, nginx.cpu if nginx else None)


def lists(report: Report, site: Site, seconds: float, how: str, peer: bool) -> None:
    """A LIST of 5 MB."""
    what = f"LIST 5 MB, {how}"
    nginx = load(site.nginx_port, site.nginx_worker, PODS, 1, seconds) if peer else None
    ours = load(site.lite_port, site.lite.pid, PODS, 1, seconds)
    report.add(what, "lists/s", ours.rate.rate, nginx.rate.rate if nginx else None)
    report.add(f"{what}, CPU", "us", ours.cpu, nginx.cpu if nginx else None)


def watches(report: Report, bench: Workbench) -> None:
    """Events to many watches of one client, beside nginx without buffering."""
    upstream, nginx_port, lite_port = free_port(), free_port(), free_port()
    pair, ca = bench.server, bench.authority.path
    server = (str(upstream), str(pair.certificate), str(pair.key))
    bench.start("watches", sys.executable, "-m", "bench.watchserver", *server)
    wait_for_port(upstream)
    proxy = bench.nginx(
        "watch-proxy",
        http=f"""server {{ listen 127.0.0.1:{nginx_port} ssl; ssl_certificate {pair.certificate};
  ssl_certificate_key {pair.key};
  location / {{ proxy_pass https://127.0.0.1:{upstream}; proxy_http_version 1.1;
    proxy_set_header Connection ""; proxy_buffering off; proxy_ssl_verify on; proxy_ssl_name localhost;
    proxy_ssl_trusted_certificate {ca}; }} }}""",
    )
    wait_for_port(nginx_port)
    lite = start_lite(bench, lite_port, upstream, "watch-cache")
    worker = worker_of(proxy)
    for count, events in ((100, 1000), (1000, 100)):
        peer = fan_out(nginx_port, upstream, ca, TOKEN, worker, count, events)
        ours = fan_out(lite_port, upstream, ca, TOKEN, lite.pid, count, events)
        delivered = count * events
        what = f"{count} watches x {events} events"
        report.add(what, "events/s", delivered / ours.seconds, delivered / peer.seconds, "remembered, too")
        each = 1e6 / delivered
        report.add(f"{what}, CPU of an event", "us", ours.cpu * each, peer.cpu * each)
    for store in ("file", "sqlite", "memory"):
        port = free_port()
        lite = start_lite(bench, port, upstream, f"cache-{store}", store)
        share = commit_share(port, upstream, ca, TOKEN, lite.pid, 1000, 5)
        report.add(f"one watch, 1,000 events/s, store {store}", "% of a core", share)
        lite.terminate()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each load")
    parser.add_argument("--gets", action="store_true", help="no more than GETs while the cloud is there")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    report = Report("lite-apiserver")
    with workbench() as bench:
        site = Site(bench)
        site.fetch_soon(site.lite_port, POD)
        if options.gets:
            gets(report, site, options.seconds, "online", True)
            report.show(options.json)
            return
        time.sleep(SETTLED)
        report.add("resident, empty", "MB", resident(site.lite))
        gets(report, site, options.seconds, "online", True)
        lists(report, site, options.seconds, "online", True)
        site.fetch(site.lite_port, MANY)
        time.sleep(SETTLED)
        report.add("resident, 10,000 objects", "MB", resident(site.lite))
        assert site.upstream is not None
        site.upstream.terminate()
        site.upstream.wait()
        site.fetch_soon(site.lite_port, POD)
        time.sleep(0.5)
        gets(report, site, options.seconds, "offline", False)
        lists(report, site, options.seconds, "offline", False)
        site.lite.send_signal(signal.SIGKILL)
        site.lite.wait()
        started = time.monotonic()
        site.lite = site.start_lite()
        report.add("listening after exec, 10,000 objects on disk", "s", time.monotonic() - started)
        site.fetch_soon(site.lite_port, POD)
        report.add("first answer after exec, offline", "s", time.monotonic() - started)
        time.sleep(SETTLED)
        report.add("resident after it", "MB", resident(site.lite))
    with workbench() as bench:
        watches(report, bench)
    report.show(options.json)


if __name__ == "__main__":
    main()
