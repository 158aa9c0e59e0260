"""Many nodes, and many streams, at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime

from tests.faults.world import FaultCase, wait_until

LOAD = (sys.executable, "-m", "tests.faults.load")
MEBIBYTE = 1 << 20


class HerdTests(FaultCase):
    def test_a_thousand_nodes_come_back(self) -> None:
        names = [f"node-{number}" for number in range(1000)]
        for name in names:
            self.authority.issue(name, directory=self.pki)
        self.cloud()
        wait_until(lambda: self.logged("cloud", "waits for edge nodes"), "the cloud is up")
        for number in range(2):
            command = [sys.executable, "-m", "tests.faults.herd", str(self.port), str(self.pki)]
            self.processes[f"herd-{number}"] = subprocess.Popen([*command, *names[number::2]])
        self.until_back(names, 1)
        self.kill("cloud")
        killed = time.time()
        self.cloud()
        times = self.until_back(names, 2)
        first = min(times)
        busiest = max(Counter(int((at - first) * 10) for at in times).values())
        sys.stdout.write(
            f"[back from {first - killed:.1f} to {max(times) - killed:.1f} s after the cloud was killed; "
            f"at most {busiest} in a tenth of a second] "
        )

    def until_back(self, names: list[str], sessions: int) -> list[float]:
        """Until each node has started so many sessions in the cloud; when the last ones did."""

        def started() -> dict[str, list[float]]:
            found: dict[str, list[float]] = {name: [] for name in names}
            for line in self.lines("cloud"):
                if line.get("message", "").endswith(" started") and line.get("node") in found:
                    at = datetime.fromisoformat(line["time"]).timestamp()
                    found[line["node"]].append(at)
            return found

        wait_until(
            lambda: all(len(times) >= sessions for times in started().values()), "every node is back", 120
        )
        return [times[-1] for times in started().values()]


class LoadTests(FaultCase):
    def setUp(self) -> None:
        """A network of its own, whose sockets hold little: so many targets' bytes could fill the kernel."""
        super().setUp()
        name = f"superedge-load-{os.getpid()}"
        self.prefix = ("ip", "netns", "exec", name)
        subprocess.run(["ip", "netns", "add", name], check=True)
        self.addCleanup(subprocess.run, ["ip", "netns", "delete", name], check=True)
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        for key, values in (("tcp_rmem", "4096 131072 262144"), ("tcp_wmem", "4096 65536 262144")):
            command = f"echo {values} > /proc/sys/net/ipv4/{key}"
            subprocess.run([*self.prefix, "sh", "-c", command], check=True)

    def test_two_thousand_streams_of_five_megabytes(self) -> None:
        self.cloud()
        target = subprocess.Popen([*self.prefix, *LOAD, "serve"], stdout=subprocess.PIPE)
        self.processes["target"] = target
        assert target.stdout is not None
        self.addCleanup(target.stdout.close)
        port = int(target.stdout.readline())
        self.edge("edge-1", port)
        self.wait_for("edge-1", port)
        command = [*LOAD, "call", f"{self.directory}/door", f"edge-1:{port}", "2000", "5000000"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=540, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        memory = {name: self.memory(name) // MEBIBYTE for name in ("cloud", "edge-1")}
        sys.stdout.write(f"[{done.stdout.strip()}; MiB at most: {memory}] ")
        for name, most in memory.items():
            self.assertLess(most, 768, name)
