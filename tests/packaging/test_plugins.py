"""The package that docs/how-to/plugins.md shows, installed and used."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import cast

from twisted.trial.unittest import SynchronousTestCase

import twisted.plugins
from superedge.tap import cloud, edge
from superedge.tap.options import BaseOptions
from superedge.testing.ports import free_port
from superedge.tls.authority import Authority
from tests.packaging.test_docs import PROJECT


class PluginTests(SynchronousTestCase):
    def setUp(self) -> None:
        # Short: the path of a Unix socket has at most 107 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix="superedge-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.environment = {**os.environ, "PYTHONPATH": str(self.directory)}
        self.pki = self.directory / "pki"
        authority = Authority.create(self.pki)
        for name in ("tunnel", "edge-1"):
            authority.issue(name, dns=["localhost"], ips=["127.0.0.1"], directory=self.pki)
        self.port = free_port()

    def install(self) -> None:
        (code,) = re.findall(
            r"^```python\n(.*?)^```",
            (PROJECT / "docs/how-to/plugins.md").read_text(),
            re.DOTALL | re.MULTILINE,
        )
        path = self.directory / "twisted" / "plugins" / "socket_plugins.py"
        path.parent.mkdir(parents=True)
        path.write_text(code.replace("/run/shop", str(self.directory)))

    def write(self, name: str, text: str) -> list[str]:
        path = self.directory / f"{name}.toml"
        path.write_text(text)
        twistd = str(Path(sys.executable).with_name("twistd"))
        return [twistd, "--nodaemon", "--pidfile=", f"superedge-{name}", "--config", str(path)]

    def cloud(self) -> list[str]:
        return self.write(
            "cloud",
            f"""[tunnel_cloud]
listen = "127.0.0.1:{self.port}"
certificate = "pki/tunnel.crt"
key = "pki/tunnel.key"
ca = ["pki/ca.crt"]
[tunnel_cloud.plugin_listeners.socket]
listen = "unix:{self.directory}/door"
""",
        )

    def edge(self) -> list[str]:
        return self.write(
            "edge",
            f"""[tunnel_edge]
servers = ["127.0.0.1:{self.port}"]
certificate = "pki/edge-1.crt"
key = "pki/edge-1.key"
ca = ["pki/ca.crt"]
handlers = ["socket"]
reconnect_initial = 0.1
reconnect_maximum = 0.2
""",
        )

    def check(self, options: BaseOptions, command: list[str]) -> tuple[object, str]:
        """The exit code and the errors of ``--check``, in this process."""
        said = io.StringIO()
        with redirect_stdout(io.StringIO()), redirect_stderr(said):
            stop = self.assertRaises(SystemExit, options.parseOptions, [*command[-2:], "--check"])
        return cast(SystemExit, stop).code, said.getvalue()

    def start(self, command: list[str]) -> None:
        with (self.directory / "log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=self.environment)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)

    def serve_upper_case(self, path: Path) -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        self.addCleanup(listener.close)

        def serve() -> None:
            while True:
                try:
                    sock = listener.accept()[0]
                except OSError:
                    return  # the test is over
                with sock:
                    while data := sock.recv(65536):
                        sock.sendall(data.upper())

        threading.Thread(target=serve, daemon=True).start()

    def call(self, line: str, data: bytes) -> bytes:
        """What comes back through the door."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(str(self.directory / "door"))
            sock.sendall(line.encode() + b"\n")
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := sock.recv(65536):
                answer += piece
            return answer

    def test_streams_of_a_kind_of_its_own(self) -> None:
        self.install()
        self.start(self.cloud())
        self.start(self.edge())
        path = self.directory / "app.sock"
        self.serve_upper_case(path)
        end = time.monotonic() + 60
        while True:
            try:
                if self.call(f"edge-1 {path}", b"hello " * 50_000) == b"HELLO " * 50_000:
                    break
            except OSError:
                pass  # the door or the node is not there yet
            self.assertLess(time.monotonic(), end, (self.directory / "log").read_text())
            time.sleep(0.1)
        with contextlib.suppress(ConnectionError):  # cut off, whether or not the kernel says so
            self.assertEqual(self.call("edge-1 /etc/passwd", b"x"), b"")
        self.assertIn("denied: /etc/passwd is not in", (self.directory / "log").read_text())

    def test_a_plugin_that_is_not_installed(self) -> None:
        for options, command in ((cloud.Options(), self.cloud()), (edge.Options(), self.edge())):
            code, said = self.check(options, command)
            self.assertEqual(code, 78)
            self.assertIn("no installed plugin is called 'socket'", said)
        self.install()
        path = str(self.directory / "twisted" / "plugins")
        twisted.plugins.__path__.append(path)
        self.addCleanup(twisted.plugins.__path__.remove, path)
        self.addCleanup(sys.modules.pop, "twisted.plugins.socket_plugins", None)
        for options, command in ((cloud.Options(), self.cloud()), (edge.Options(), self.edge())):
            self.assertEqual(self.check(options, command), (0, ""))
