"""superedge-connect as a process, in front of a listener that a test plays."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from superedge.cli.connect import connect

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class ConnectTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="superedge-"))  # a socket's path must be short
        self.addCleanup(shutil.rmtree, self.path)
        self.heard = b""

    def listener(self, play: Callable[[socket.socket], None]) -> str:
        """The address of a listener that takes one caller, whose request is answered before ``play``."""
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(self.path / "door"))
        listening.listen()

        def serve() -> None:
            with listening, listening.accept()[0] as caller:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += caller.recv(1)
                caller.sendall(ESTABLISHED)
                play(caller)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        self.addCleanup(thread.join, 20)
        return f"unix:{self.path}/door"

    def hear(self, caller: socket.socket) -> None:
        """Until the caller says no more."""
        while piece := caller.recv(65536):
            self.heard += piece

    def connect(self, listener: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "superedge.cli.connect", listener, "shop-1", "22"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        # What hangs ends, and fails by its exit code.
        patience = threading.Timer(20, process.kill)
        patience.start()
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.addCleanup(patience.cancel)
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            self.addCleanup(stream.close)
        return process

    def test_the_node_ends_first(self) -> None:
        def play(caller: socket.socket) -> None:
            caller.sendall(b"all of it")
            caller.shutdown(socket.SHUT_WR)
            self.hear(caller)

        process = self.connect(self.listener(play))
        assert process.stdin is not None and process.stdout is not None
        self.assertEqual(process.stdout.read(), b"all of it")
        process.stdin.write(b"last words")
        process.stdin.close()
        self.assertEqual(process.wait(20), 0)
        self.assertEqual(self.heard, b"last words")

    def test_the_node_ends_last(self) -> None:
        def play(caller: socket.socket) -> None:
            self.hear(caller)
            caller.sendall(b"all of it")

        process = self.connect(self.listener(play))
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"question")
        process.stdin.close()
        self.assertEqual(process.stdout.read(), b"all of it")
        self.assertEqual(process.wait(20), 0)
        self.assertEqual(self.heard, b"question")

    def test_arguments_that_are_none(self) -> None:
        for arguments, said in (
            (["cloud", "shop-1", "22"], "'LISTENER': 'cloud' is not an address: use host:port,"),
            (["unix:door", "shop-1", "22"], "a Unix socket needs an absolute path"),
            (["unix:/door", "shop-1", "0"], "'PORT': 0 is not in the range 1<=x<=65535"),
            (["unix:/door", "shop-1", "ssh"], "'PORT': 'ssh' is not a valid integer"),
            (["cloud:1", "shop-1", "22"], "a TCP listener needs --certificate, --key and --ca"),
        ):
            done = CliRunner().invoke(connect, arguments)
            self.assertEqual(done.exit_code, 2)
            self.assertIn(said, done.stderr)
