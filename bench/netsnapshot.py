"""The network snapshot: how long a restore takes, and what the service costs.

Everything is in a network namespace that ends with the run. A restore is beside iproute2, which is given the
same network as a batch; the edge process with the table is beside itself without.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from bench.harness import console, wait_for_port
from superedge.config.networksnapshot import NetworkSnapshotConfig
from superedge.netsnapshot.commands import commands
from superedge.netsnapshot.directory import read_snapshots
from superedge.netsnapshot.plan import Plan
from superedge.testing.ports import free_port
from superedge.tls.authority import Authority

DEVICES, ROUTES, NEIGHBOURS = 50, 200, 200
PODS = 10
INTERVAL = NetworkSnapshotConfig().interval
PROGRAM = str(Path(sys.executable).with_name("superedge"))
TICKS = os.sysconf("SC_CLK_TCK")

EDGE = """
[ops]
listen = "127.0.0.1:{ops}"
[lite_apiserver]
listen = ["127.0.0.1:{port}"]
certificate = "{pki}/edge.crt"
key = "{pki}/edge.key"
client_ca = ["{pki}/ca.crt"]
[lite_apiserver.upstream]
servers = ["127.0.0.1:1"]
ca = ["{pki}/ca.crt"]
[lite_apiserver.cache]
store = "memory"
"""
TABLE = """
[network_snapshot]
directory = "{directory}/network"
node = "bench"
files = []
ipam = "{directory}/ipam"
"""


def ip(lines: str, *options: str) -> None:
    """A batch of iproute2."""
    subprocess.run(["ip", *options, "-batch", "-"], input=lines, text=True, check=True, capture_output=True)


def make_network() -> None:
    """A node in a large cluster: an entry, a neighbour and a route for each peer."""
    lines = ["link set lo up", "link add eth0 type veth peer name lan", "address add 192.0.2.1/24 dev eth0"]
    lines += ["link set eth0 up", "link set lan up"]
    for each in range(DEVICES):
        if each % 2:
            lines.append(f"link add br{each} type bridge")
            lines.append(f"address add 10.{each}.0.1/24 dev br{each}")
        else:
            lines.append(
                f"link add vx{each} type vxlan id {each + 1} local 192.0.2.1 dev eth0 dstport 8472 nolearning"
            )
            lines.append(f"address add 10.{each}.0.0/32 dev vx{each}")
        lines.append(f"link set {'br' if each % 2 else 'vx'}{each} up")
    for each in range(NEIGHBOURS):
        lines.append(f"neighbour add 10.200.{each}.0 lladdr {mac(each)} dev vx0 nud permanent")
    for each in range(ROUTES):
        lines.append(f"route add 10.200.{each}.0/24 via 10.200.{each}.0 dev vx0 onlink")
    ip("\n".join(lines))
    entries = "\n".join(f"fdb append {mac(each)} dev vx0 dst 192.0.2.9" for each in range(NEIGHBOURS))
    subprocess.run(["bridge", "-batch", "-"], input=entries, text=True, check=True)


def mac(number: int) -> str:
    return f"4e:00:00:00:00:{number:02x}"


def remove_network() -> None:
    ip("\n".join(f"link delete {'br' if each % 2 else 'vx'}{each}" for each in range(DEVICES)))


def start(directory: Path, config: str) -> tuple[subprocess.Popen[bytes], int]:
    """An edge process and its ops port."""
    ops = free_port()
    path = directory / "edge.toml"
    path.write_text(config.replace("{ops}", str(ops)))
    process = subprocess.Popen(
        [PROGRAM, "edge", "--config", str(path)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for_port(ops)
    return process, ops


def readings(ops: int) -> tuple[int, float]:
    """How often the network was read so far, and the CPU time that it took."""
    with urllib.request.urlopen(f"http://127.0.0.1:{ops}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    found = dict(line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("superedge_network"))
    count = float(found["superedge_network_snapshot_readings_total"])
    return int(count), float(found["superedge_network_snapshot_cpu_seconds_total"])


def cpu(pid: int) -> float:
    """CPU seconds of a process and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS


def resident(pid: int) -> float:
    """MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def churn(seconds: float) -> int:
    """Pods' veth pairs on a bridge: made, put up, given an address and removed. How many."""
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        lines = [f"link add veth{each} type veth peer name pod{each}" for each in range(PODS)]
        lines += [f"link set veth{each} master br1 up" for each in range(PODS)]
        lines += [f"link set pod{each} up" for each in range(PODS)]
        ip("\n".join(lines))
        time.sleep(0.5)
        ip("\n".join(f"link delete veth{each}" for each in range(PODS)))
        time.sleep(0.5)
        count += PODS
    return count


def measure_service(directory: Path, config: str, seconds: float) -> dict[str, float]:
    process, _ = start(directory, config)
    time.sleep(6)
    without = resident(process.pid)
    at_rest_without = share(process.pid, seconds)
    process.terminate()
    process.wait()
    process, ops = start(directory, config + TABLE.replace("{directory}", str(directory)))
    time.sleep(6)
    count, took = readings(ops)
    found = {
        "MB without the table": without,
        "MB more with it": resident(process.pid) - without,
        "CPU s of one reading": took / count,
        "% of a core at rest without": at_rest_without,
        "% of a core at rest with": share(process.pid, seconds) + 100 * took / count / INTERVAL,
    }
    before, began = cpu(process.pid), time.monotonic()
    pods = churn(seconds)
    lasted = time.monotonic() - began
    found["pods per second in the churn"] = pods / lasted
    found["% of a core in the churn"] = 100 * ((cpu(process.pid) - before) / lasted + took / count / INTERVAL)
    found["readings during the churn"] = readings(ops)[0] - count
    process.terminate()
    process.wait()
    return found


def share(pid: int, seconds: float) -> float:
    before = cpu(pid)
    time.sleep(seconds)
    return 100 * (cpu(pid) - before) / seconds


def measure_restore(directory: Path) -> dict[str, float]:
    """Of a process from its start to its end."""
    newest = read_snapshots(directory / "network")[0].snapshot
    assert newest is not None
    facts = newest.facts
    plan = Plan(
        list(facts.links),
        [],
        list(facts.addresses),
        list(facts.fdb),
        list(facts.neighbours),
        list(facts.routes),
    )
    found: dict[str, float] = {f"restored {name}": count for name, count in facts.size().items()}
    remove_network()
    batch = list(commands(plan))
    began = time.monotonic()
    ip("\n".join(line.removeprefix("ip ") for line in batch if line.startswith("ip ")))
    text = "\n".join(line.removeprefix("bridge ") for line in batch if line.startswith("bridge "))
    subprocess.run(["bridge", "-batch", "-"], input=text, text=True, check=True)
    found["iproute2, s"] = time.monotonic() - began
    remove_network()
    command = [PROGRAM, "netrestore", "--force", "--node", "bench", "--directory", str(directory / "network")]
    began, before = time.monotonic(), os.times()
    done = subprocess.run(command, text=True, check=True, capture_output=True)
    found["superedge netrestore, s"] = time.monotonic() - began
    after = os.times()
    took = after.children_user + after.children_system - before.children_user - before.children_system
    found["superedge netrestore, CPU s"] = took
    found["of which in the kernel's network, s"] = float(done.stdout.split()[-2])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each measurement of CPU time")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if os.environ.get("SUPEREDGE_BENCH_NAMESPACE") != "1":
        os.environ["SUPEREDGE_BENCH_NAMESPACE"] = "1"
        user = [] if os.geteuid() == 0 else ["--map-root-user"]
        command = [sys.executable, "-m", "bench.netsnapshot", *sys.argv[1:]]
        os.execvp("unshare", ["unshare", *user, "--net", *command])
    with tempfile.TemporaryDirectory(prefix="superedge-bench-") as name:
        directory = Path(name)
        make_network()
        pki = directory / "pki"
        Authority.create(pki, "bench").issue("edge", ips=["127.0.0.1"], directory=pki)
        config = EDGE.replace("{pki}", str(pki)).replace("{port}", str(free_port()))
        found = measure_service(directory, config, options.seconds) | measure_restore(directory)
    for key, value in found.items():
        console.print(f"{key:40} {value:10.3f}")
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
