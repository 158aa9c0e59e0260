"""Cloud and edge as processes, targets and callers in the test."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from superedge.testing.ports import free_port
from superedge.tls.authority import Authority
from tests.faults.link import FaultyLink

SKIP = (
    None
    if os.environ.get("SUPEREDGE_CLUSTER_TESTS") == "1"
    else "set SUPEREDGE_CLUSTER_TESTS=1 to run tests that take their time"
)
BLOCK = os.urandom(1 << 20) * 5


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """Ask again until the answer is true. Raises AssertionError when that takes too long."""
    end = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        time.sleep(0.05)
    return result


class Target:
    """A server on loopback; ``serve`` gets each connection, in a thread."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _one(self, sock: socket.socket) -> None:
        with sock, contextlib.suppress(OSError):
            self._serve(sock)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def read_all(sock: socket.socket) -> bytes:
    """Everything until the peer's end. Raises ConnectionError when it is cut off."""
    pieces = []
    while piece := sock.recv(262144):
        pieces.append(piece)
    return b"".join(pieces)


def reverse(sock: socket.socket) -> None:
    """Answers, after the caller's end, with what it was sent, in reverse."""
    sock.sendall(read_all(sock)[::-1])


def echo(sock: socket.socket) -> None:
    while data := sock.recv(262144):
        sock.sendall(data)


class Refused(Exception):
    """CONNECT was answered otherwise; the text is the status line."""


class FaultCase(SynchronousTestCase):
    """Processes of a test; what is started is ended."""

    skip = SKIP
    prefix: tuple[str, ...] = ()
    """What command lines of processes begin with."""

    def setUp(self) -> None:
        # Short: the path of a Unix socket has at most 107 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix="superedge-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.pki = self.directory / "pki"
        self.authority = Authority.create(self.pki)
        self.authority.issue("tunnel", dns=["localhost"], ips=["127.0.0.1"], directory=self.pki)
        self.port = free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.addCleanup(self.end_all)

    # -- processes

    def run_twistd(self, name: str, command: str, config: str) -> None:
        path = self.directory / f"{name}.toml"
        path.write_text('[log]\nformat = "json"\n' + config)
        twistd = str(Path(sys.executable).with_name("twistd"))
        with (self.directory / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [*self.prefix, twistd, "--nodaemon", "--pidfile=", command, "--config", str(path)],
                stdout=log,
                stderr=log,
                cwd=self.directory,
            )

    def cloud(self, more: str = "", doors: dict[int, tuple[str, Target]] | None = None) -> None:
        """``doors`` are `tcp` listeners by port: only TCP tells a caller that a stream was cut."""
        listeners = "".join(
            f"""
[[tunnel_cloud.listeners]]
kind = "tcp"
listen = "127.0.0.1:{port}"
node = "{node}"
target = "127.0.0.1:{target.port}"
"""
            for port, (node, target) in (doors or {}).items()
        )
        self.run_twistd(
            "cloud",
            "superedge-cloud",
            f"""[tunnel_cloud]
listen = "127.0.0.1:{self.port}"
certificate = "pki/tunnel.crt"
key = "pki/tunnel.key"
ca = ["pki/ca.crt"]
{more}
[[tunnel_cloud.listeners]]
kind = "connect"
listen = "unix:{self.directory}/door"
{listeners}
""",
        )

    def edge(
        self, node: str, *targets: Target | int, port: int = 0, process: str = "", more: str = ""
    ) -> None:
        if not (self.pki / f"{node}.crt").exists():
            self.authority.issue(node, directory=self.pki)
        ports = [target.port if isinstance(target, Target) else target for target in targets]
        allow = ", ".join(f'"127.0.0.1:{number}"' for number in ports)
        self.run_twistd(
            process or node,
            "superedge-edge",
            f"""[tunnel_edge]
drain_timeout = 1.0
servers = ["127.0.0.1:{port or self.port}"]
certificate = "pki/{node}.crt"
key = "pki/{node}.key"
ca = ["pki/ca.crt"]
allow = [{allow}]
{more}
""",
        )

    def signal(self, name: str, number: signal.Signals) -> None:
        self.processes[name].send_signal(number)

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait(30)

    def end_all(self) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGCONT)
            process.kill()
        for process in self.processes.values():
            process.wait(30)

    def lines(self, name: str) -> list[dict[str, Any]]:
        """What a process has logged."""
        found = []
        for line in (self.directory / f"{name}.log").read_text().splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    def logged(self, name: str, text: str) -> bool:
        return any(text in line.get("message", "") for line in self.lines(name))

    def memory(self, name: str) -> int:
        """The most bytes that the process has had in memory."""
        status = Path(f"/proc/{self.processes[name].pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024

    # -- targets, links and callers

    def target(self, serve: Callable[[socket.socket], None]) -> Target:
        target = Target(serve)
        self.addCleanup(target.close)
        return target

    def link(self) -> FaultyLink:
        """A link to the cloud."""
        link = FaultyLink(self.port)
        self.addCleanup(link.close)
        return link

    def dial(self, node: str, target: Target | int, timeout: float = 20.0) -> socket.socket:
        """A stream to a target. Raises Refused, or OSError while there is no listener."""
        sock = socket.socket(socket.AF_UNIX)
        self.addCleanup(sock.close)
        sock.settimeout(timeout)
        sock.connect(str(self.directory / "door"))
        port = target.port if isinstance(target, Target) else target
        sock.sendall(f"CONNECT {node}:{port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = sock.recv(1)
            if not byte:
                break
            head += byte
        if not head.startswith(b"HTTP/1.1 200"):
            sock.close()
            raise Refused(head.split(b"\r\n")[0].decode())
        return sock

    def call(self, door: int, timeout: float = 20.0) -> socket.socket:
        """A connection to a `tcp` listener."""
        sock = socket.create_connection(("127.0.0.1", door), timeout)
        self.addCleanup(sock.close)
        return sock

    def try_dial(self, node: str, target: Target | int) -> socket.socket | None:
        with contextlib.suppress(OSError, Refused):
            return self.dial(node, target, timeout=2.0)
        return None

    def wait_for(self, node: str, target: Target | int, seconds: float = 30.0) -> float:
        """Until a stream opens; the seconds that it took."""
        started = time.monotonic()
        sock: socket.socket = wait_until(
            lambda: self.try_dial(node, target), f"a stream to {node} opens", seconds
        )
        abort(sock)
        return time.monotonic() - started

    def round_trip(self, node: str, target: Target | int, data: bytes = b"hello") -> bytes:
        """What is answered after our end."""
        with self.dial(node, target) as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            return read_all(sock)

    def report(self, what: str, seconds: float) -> None:
        """Say how long something took; times are measured, never asserted."""
        sys.stdout.write(f"[{what}: {seconds:.1f} s] ")

    def assertCut(self, sock: socket.socket, seconds: float = 40.0) -> None:
        """The stream ends by an error: what came must not be taken for whole."""
        sock.settimeout(seconds)
        with self.assertRaises(ConnectionError):
            read_all(sock)


def abort(sock: socket.socket) -> None:
    """Close with RST where there is one."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
