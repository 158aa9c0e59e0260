"""``python -m bench.dns``: questions a second and processor time, one server after the other."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dnslib import DNSRecord
from rich.table import Table

from bench.dns.changes import RATE, APIServer, Delays, measure
from bench.harness import (
    Workbench,
    console,
    cpu_seconds,
    program,
    resident,
    wait_for_port,
    workbench,
)
from superedge.dns.cluster.objects import Port, Service
from superedge.dns.snapshot import encode_snapshot, write_snapshot
from superedge.kube.reflector import Key
from superedge.testing.ports import free_port

SERVICES = 10_000
OUTSTANDING = 64


class Server(NamedTuple):
    """One of those that are measured."""

    name: str
    process: subprocess.Popen[bytes]
    port: int


class Result(NamedTuple):
    """What a load came to; processor time in us a question."""

    rate: float
    cpu: float


def wait_for(port: int, seconds: float = 15.0) -> None:
    """Until a server answers over UDP."""
    query = bytes(DNSRecord.question("ready.test").pack())
    end = time.monotonic() + seconds
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(0.1)
        sock.connect(("127.0.0.1", port))
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                sock.send(query)
                sock.recv(4096)
                return
            time.sleep(0.02)
    raise SystemExit(f"bench: nothing answers on port {port} after {seconds} s")


def cluster_names() -> list[str]:
    """The Services that everybody knows."""
    return [f"svc-{n}.ns-{n % 50}.svc.cluster.local" for n in range(SERVICES)]


def address(number: int) -> tuple[int, int, int, int]:
    """Of a Service."""
    return 10, 0, number >> 8, number & 255


def write_kubeconfig(bench: Workbench, server: str) -> None:
    """``kubeconfig`` in the workbench's directory."""
    kubeconfig = {
        "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority": "pki/ca.crt"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    (bench.directory / "kubeconfig").write_text(json.dumps(kubeconfig))


def superedge(bench: Workbench, upstream: int) -> Server:
    """The node-local server, from a snapshot and without an API server."""
    services = {
        Key(f"ns-{n % 50}", f"svc-{n}"): Service((bytes(address(n)),), (Port("http", "tcp", 80),))
        for n in range(SERVICES)
    }
    write_snapshot(bench.directory / "dns.snapshot", encode_snapshot(services, {}))
    write_kubeconfig(bench, "https://127.0.0.1:1")
    port = free_port()
    config = f"""
[kubernetes]
kubeconfig = "kubeconfig"
[local_dns]
listen = ["127.0.0.1:{port}"]
snapshot = "dns.snapshot"
[[local_dns.forward]]
upstreams = ["127.0.0.1:{upstream}"]
"""
    return Server("SuperEdge", bench.twistd("superedge-edge", config), port)


def coredns_peer(bench: Workbench, upstream: int) -> Server:
    """With the Services as a hosts file and its cache on, on one core."""
    hosts = bench.directory / "hosts"
    port = free_port()
    path = bench.directory / "Corefile"
    path.write_text(
        f""".:{port} {{
    bind 127.0.0.1
    hosts {hosts} cluster.local {{
        ttl 5
    }}
    cache
    forward . 127.0.0.1:{upstream}
}}
"""
    )
    return Server(
        "CoreDNS", bench.start("coredns", "env", "GOMAXPROCS=1", "coredns", "-conf", str(path)), port
    )


def dnsmasq(bench: Workbench, name: str, *options: str) -> Server:
    """In the foreground, with nothing of the machine's own configuration."""
    port = free_port()
    command = [
        program("dnsmasq"),
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
    ]
    command += [
        "--user=root",
        "--pid-file=",
        "--listen-address=127.0.0.1",
        "--bind-interfaces",
        f"--port={port}",
    ]
    return Server("dnsmasq", bench.start(name, *command, *options), port)


def dnsmasq_peer(bench: Workbench, upstream: int) -> Server:
    """With the Services as a hosts file."""
    hosts = bench.directory / "hosts"
    lines = (f"{'.'.join(map(str, address(n)))} {name}\n" for n, name in enumerate(cluster_names()))
    hosts.write_text("".join(lines))
    options = (f"--addn-hosts={hosts}", f"--server=127.0.0.1#{upstream}", "--cache-size=10000")
    return dnsmasq(bench, "dnsmasq", *options, "--dns-forward-max=10000", "--local=/cluster.local/")


def unbound_peer(bench: Workbench, upstream: int) -> Server:
    """One thread, with the Services as local data."""
    port = free_port()
    data = "".join(
        f'local-data: "{name}. 5 A {".".join(map(str, address(n)))}"\n'
        for n, name in enumerate(cluster_names())
    )
    path = bench.directory / "unbound.conf"
    path.write_text(
        f"""server:
interface: 127.0.0.1
port: {port}
num-threads: 1
do-daemonize: no
username: ""
chroot: ""
pidfile: ""
use-syslog: no
do-not-query-localhost: no
module-config: "iterator"
local-zone: "cluster.local." static
{data}
forward-zone:
name: "."
forward-addr: 127.0.0.1@{upstream}
"""
    )
    return Server("unbound", bench.start("unbound", program("unbound"), "-c", str(path)), port)


def changing(bench: Workbench, seconds: float) -> tuple[Delays, float]:
    """While Services change: from the event to the answer, and the 99th percentile of other answers, ms."""
    api = APIServer(bench.server)
    write_kubeconfig(bench, api.url)
    port = free_port()
    config = f"""
[kubernetes]
kubeconfig = "kubeconfig"
[local_dns]
listen = ["127.0.0.1:{port}"]
snapshot = "changing.snapshot"
"""
    server = Server("changing", bench.twistd("superedge-edge", config), port)
    wait_for(port)
    while not api.watches:
        time.sleep(0.1)
    known = bench.directory / "known"
    known.write_text("".join(f"svc-{n}.default.svc.cluster.local A\n" for n in range(SERVICES // 2)))
    others: list[float] = []
    asking = threading.Thread(target=lambda: others.append(late(bench, server, seconds)))
    asking.start()
    delays = measure(api, port, seconds)
    asking.join()
    server.process.terminate()
    server.process.wait()
    api.close()
    return delays, others[0]


def beside(bench: Workbench) -> float:
    """MB that the server adds to a process with lite-apiserver."""
    api = APIServer(bench.server)
    write_kubeconfig(bench, api.url)
    pki = bench.directory / "pki"
    lite = f"""
[kubernetes]
kubeconfig = "kubeconfig"
[lite_apiserver]
listen = ["127.0.0.1:{{port}}"]
certificate = "{pki}/server.crt"
key = "{pki}/server.key"
client_ca = ["{pki}/ca.crt"]
[lite_apiserver.upstream]
servers = ["{api.url.removeprefix("https://")}"]
ca = ["{pki}/ca.crt"]
[lite_apiserver.cache]
store = "memory"
"""
    sizes = []
    for more in ("", '[local_dns]\nlisten = ["127.0.0.1:{dns}"]\nsnapshot = "beside.snapshot"\n'):
        port, dns = free_port(), free_port()
        config = lite.replace("{port}", str(port)) + more.replace("{dns}", str(dns))
        process = bench.twistd("superedge-edge", config)
        wait_for_port(port)
        if more:
            wait_for(dns)
            while not api.watches:
                time.sleep(0.1)
        time.sleep(4)  # its snapshot is written
        sizes.append(resident(process))
        process.terminate()
        process.wait()
    api.close()
    return sizes[1] - sizes[0]


def load(bench: Workbench, server: Server, questions: Sequence[str], seconds: float) -> Result:
    """dnsperf against one server."""
    path = bench.directory / "questions"
    path.write_text("".join(f"{question}\n" for question in questions))
    before = cpu_seconds(server.process.pid)
    command = [
        program("dnsperf"),
        "-s",
        "127.0.0.1",
        "-p",
        str(server.port),
        "-d",
        str(path),
        "-l",
        str(seconds),
    ]
    command += ["-q", str(OUTSTANDING), "-c", "4"]
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    used = cpu_seconds(server.process.pid) - before
    completed = int(re.findall(r"Queries completed:\s+(\d+)", text)[0])
    rate = float(re.findall(r"Queries per second:\s+([\d.]+)", text)[0])
    return Result(rate, used / max(completed, 1) * 1e6)


def late(bench: Workbench, server: Server, seconds: float) -> float:
    """The 99th percentile of latency in ms at 1,000 questions a second about the cluster."""
    command = [
        program("dnsperf"),
        "-s",
        "127.0.0.1",
        "-p",
        str(server.port),
        "-d",
        str(bench.directory / "known"),
    ]
    command += ["-l", str(seconds), "-Q", "1000", "-v"]
    text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    seen = sorted(float(latency) for latency in re.findall(r"^> \S+ \S+ A (\d\.\d+)$", text, re.MULTILINE))
    return seen[len(seen) * 99 // 100] * 1000 if seen else float("nan")


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(prog="bench.dns", description=__doc__)
    options.add_argument("--seconds", type=float, default=4.0, help="length of each load")
    options.add_argument("--json", type=Path, help="a file for the figures")
    arguments = options.parse_args()
    known = [f"{name} A" for name in cluster_names()]
    few = [f"site-{n}.kept.example A" for n in range(1000)]
    many = [f"site-{n}.fresh.example A" for n in range(400_000)]
    mixed = [line for n, name in enumerate(known) for line in (name, f"none-{n}.default.svc.cluster.local A")]
    loads = {
        "cluster names": known,
        "cluster names, half of them NXDOMAIN": mixed,
        "forwarded, cached": few,
        "forwarded, not cached": many,
    }
    figures: dict[str, dict[str, Result]] = {what: {} for what in loads}
    memory: dict[str, float] = {}
    latency: dict[str, float] = {}
    with workbench() as bench:
        (bench.directory / "known").write_text("\n".join(known))
        target = dnsmasq(bench, "target", "--address=/example/192.0.2.1", "--local-ttl=300")
        wait_for(target.port)
        peers = [superedge, dnsmasq_peer, unbound_peer]
        if shutil.which("coredns"):
            peers.append(coredns_peer)
        for make in peers:
            server = make(bench, target.port)
            wait_for(server.port)
            for what, questions in loads.items():
                figures[what][server.name] = load(bench, server, questions, arguments.seconds)
            latency[server.name] = late(bench, server, arguments.seconds)
            memory[server.name] = resident(server.process)
            server.process.terminate()
            server.process.wait()
        delays, others = changing(bench, arguments.seconds)
        added = beside(bench)
    table = Table(title=f"DNS, {SERVICES:,} services, {OUTSTANDING} questions under way", box=None)
    for column in ("", *memory):
        table.add_column(column, justify="left" if not column else "right")
    for what, by_name in figures.items():
        cells = (f"{r.rate:,.0f}/s, {r.cpu:.1f} us" for r in by_name.values())
        table.add_row(what, *cells)
    table.add_row("p99 at 1,000/s, ms", *(f"{each:.2f}" for each in latency.values()))
    table.add_row("memory, MB", *(f"{size:.0f}" for size in memory.values()))
    console.print(table)
    console.print(
        f"{SERVICES // 2:,} services, {RATE:,} changes a second: a change is answered after"
        f" {delays.median:.1f} ms, p99 {delays.p99:.1f}, at worst {delays.worst:.1f};"
        f" p99 of other answers {others:.2f} ms"
    )
    console.print(f"added to a process with lite-apiserver: {added:.0f} MB")
    if arguments.json is not None:
        plain = {what: {name: r._asdict() for name, r in each.items()} for what, each in figures.items()}
        arguments.json.write_text(
            json.dumps(
                {
                    "loads": plain,
                    "p99_ms": latency,
                    "memory_mb": memory,
                    "change_ms": delays._asdict(),
                    "p99_ms_while_services_change": others,
                    "added_to_lite_apiserver_mb": added,
                },
                indent=1,
            )
        )


if __name__ == "__main__":
    main()
