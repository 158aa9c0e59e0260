"""What is measured: a target, and the ways that lead to it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time

from bench import load
from bench.harness import Workbench, wait_for_port
from superedge.testing.ports import free_port

NODE = "edge-1"


class Path:
    """What lies between the two halves of a way: nothing, or a relay of ``bench.delay``.

    Args:
        delay: of the round trip, milliseconds; of several, SIGUSR2 makes the next one hold.
        rate: megabytes a second, 0 for no limit.
        always: also without delay, for what a relay can do to connections.
    """

    def __init__(self, bench: Workbench, *delay: float, rate: float = 0.0, always: bool = False) -> None:
        self._bench = bench
        self._delays = delay
        self._rate = rate
        self._always = always
        self.relays: list[subprocess.Popen[bytes]] = []

    def to(self, port: int) -> int:
        """The port through which one far half dials ``port`` of the other."""
        if not (any(self._delays) or self._always):
            return port
        near = free_port()
        delays = ",".join(f"{delay:g}" for delay in self._delays or (0.0,))
        arguments = [str(near), str(port), delays]
        arguments += [f"{self._rate:g}"] if self._rate else []
        self.relays.append(
            self._bench.start(f"delay-{near}", sys.executable, "-m", "bench.delay", *arguments)
        )
        wait_for_port(near)
        return near

    def signal(self, number: signal.Signals) -> None:
        """Have the relays do what `bench.delay` does at a signal."""
        for relay in self.relays:
            relay.send_signal(number)


class Target:
    """The program both ways lead to."""

    def __init__(self, bench: Workbench) -> None:
        self.port = free_port()
        bench.start(f"target-{self.port}", sys.executable, "-m", "bench.target", str(self.port))
        wait_for_port(self.port)


class Relay:
    """Two nginx stream hops, plain to TLS and TLS to plain."""

    def __init__(self, bench: Workbench, target: Target, path: Path) -> None:
        self.port, far = free_port(), free_port()
        pair, ca = bench.server, bench.authority.path
        bench.nginx(
            f"far-{far}",
            stream=f"""server {{ listen 127.0.0.1:{far} ssl; ssl_certificate {pair.certificate};
  ssl_certificate_key {pair.key}; proxy_pass 127.0.0.1:{target.port}; tcp_nodelay on;
  proxy_buffer_size 64k; }}""",
        )
        bench.nginx(
            f"near-{far}",
            stream=f"""server {{ listen 127.0.0.1:{self.port}; proxy_pass 127.0.0.1:{path.to(far)};
  proxy_ssl on; proxy_ssl_verify on; proxy_ssl_trusted_certificate {ca}; proxy_ssl_name localhost;
  tcp_nodelay on; proxy_buffer_size 64k; }}""",
        )
        wait_for_echo(self.port)


class Tunnel:
    """A cloud process with a ``tcp`` listener, and the edge process of one node."""

    def __init__(self, bench: Workbench, target: Target, path: Path, edge_options: str = "") -> None:
        self._bench = bench
        self.port, self.cloud_port = free_port(), free_port()
        self.pki = pki = bench.directory / "pki"
        bench.issue(NODE)
        self._cloud_config = f"""[tunnel_cloud]
listen = "127.0.0.1:{self.cloud_port}"
certificate = "{pki}/server.crt"
key = "{pki}/server.key"
ca = ["{pki}/ca.crt"]
drain_timeout = 0.1
[[tunnel_cloud.listeners]]
kind = "tcp"
listen = "127.0.0.1:{self.port}"
node = "{NODE}"
target = "127.0.0.1:{target.port}"
"""
        self._edge_config = f"""[tunnel_edge]
servers = ["127.0.0.1:{path.to(self.cloud_port)}"]
certificate = "{pki}/{NODE}.crt"
key = "{pki}/{NODE}.key"
ca = ["{pki}/ca.crt"]
allow = ["127.0.0.1:{target.port}"]
drain_timeout = 0.1
{edge_options}
"""
        self.start_cloud()
        self.start_edge()
        wait_for_echo(self.port)

    def start_cloud(self) -> None:
        """A new cloud process."""
        self.cloud = self._bench.twistd("superedge-cloud", self._cloud_config)

    def start_edge(self) -> None:
        """A new edge process."""
        self.edge = self._bench.twistd("superedge-edge", self._edge_config)


def echoes(port: int, timeout: float = 1.0) -> bool:
    """Whether a byte comes back through a new connection."""
    with contextlib.suppress(OSError), load.connect(port, b"Ex") as sock:
        sock.settimeout(timeout)
        return sock.recv(1) == b"x"
    return False


def wait_for_echo(port: int, seconds: float = 40.0) -> float:
    """Seconds until a byte comes back through a new connection."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        if echoes(port):
            return time.monotonic() - started
        time.sleep(0.01)
    raise SystemExit(f"bench: nothing comes back through port {port}")
