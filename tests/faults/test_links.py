"""Links that break, and what streams see of it."""

from __future__ import annotations

import signal
import socket
import ssl
import sys
import threading
import time

from superedge.testing.ports import free_port
from tests.faults.world import (
    BLOCK,
    FaultCase,
    Refused,
    abort,
    echo,
    read_all,
    reverse,
    wait_until,
)

FLAPPING_SECONDS = 30.0


class LinkTests(FaultCase):
    def setUp(self) -> None:
        super().setUp()
        self.cut = self.link()
        self.echo = self.target(echo)
        door = free_port()
        self.cloud(doors={door: ("edge-1", self.echo)})
        self.edge("edge-1", self.echo, port=self.cut.port)
        self.wait_for("edge-1", self.echo)
        self.stream = self.call(door)
        self.stream.sendall(b"before")
        self.assertEqual(self.stream.recv(100), b"before")

    def test_a_link_cut_silently(self) -> None:
        self.cut.silence()
        self.report("a new stream after a silent cut", self.wait_for("edge-1", self.echo, 60))
        self.assertCut(self.stream)
        self.assertTrue(self.logged("edge-1", "no answer to a ping"))

    def test_a_link_cut_with_resets(self) -> None:
        self.cut.reset()
        self.assertCut(self.stream)
        self.report("a new stream after a reset", self.wait_for("edge-1", self.echo))

    def test_a_link_that_corrupts_a_byte(self) -> None:
        self.cut.corrupt()
        with self.assertRaises(ConnectionError):
            for _ in range(100):
                self.stream.sendall(bytes(10000))
                got = b""
                while len(got) < 10000:
                    piece = self.stream.recv(65536)
                    if not piece:
                        raise AssertionError("it looks whole")
                    self.assertEqual(piece.strip(b"\0"), b"", "what arrives is what was sent")
                    got += piece
        self.wait_for("edge-1", self.echo)
        self.assertEqual(self.cut.accepted, 2)


class FlappingTests(FaultCase):
    def test_a_path_that_is_cut_every_five_seconds(self) -> None:
        """Nearly every caller finds the node: what a session achieved is forgiven its end."""
        target, link = self.target(echo), self.link()
        self.cloud()
        self.edge("shop", target, port=link.port)
        self.wait_for("shop", target)
        began, cuts = time.monotonic(), 0
        opened = []
        while (now := time.monotonic() - began) < FLAPPING_SECONDS:
            if now >= 5 * (cuts + 1):
                link.reset()
                cuts += 1
            sock = self.try_dial("shop", target)
            opened.append(sock is not None)
            if sock is not None:
                abort(sock)
            time.sleep(0.05)
        share = sum(opened) / len(opened)
        sys.stdout.write(f"[{share:.1%} of {len(opened)} streams opened in {cuts} cuts] ")
        self.assertGreater(share, 0.9)


class ProcessTests(FaultCase):
    def setUp(self) -> None:
        super().setUp()
        self.reverse = self.target(reverse)
        self.echo = self.target(echo)
        self.door = free_port()
        self.cloud(doors={self.door: ("edge-1", self.echo)})
        self.edge("edge-1", self.reverse, self.echo)
        self.wait_for("edge-1", self.echo)

    def test_a_cloud_killed_mid_stream(self) -> None:
        ended: list[bytes | Exception] = []

        def hold(sock: socket.socket) -> None:
            if not sock.recv(100):
                return  # whoever waited for the node
            sock.sendall(b"half of it")
            try:
                ended.append(read_all(sock))
            except ConnectionError as problem:
                ended.append(problem)

        target = self.target(hold)
        self.edge("edge-2", target)
        self.wait_for("edge-2", target)
        stream = self.dial("edge-2", target)
        stream.sendall(b"begin")
        self.assertEqual(stream.recv(100), b"half of it")
        self.kill("cloud")
        wait_until(lambda: ended, "the target is told")
        self.assertIsInstance(ended[0], ConnectionError, "what came must not be taken for whole")
        self.cloud()
        self.report("a new stream after the cloud's restart", self.wait_for("edge-2", target))
        self.wait_for("edge-1", self.echo)
        self.assertEqual(self.round_trip("edge-1", self.reverse, BLOCK), BLOCK[::-1])

    def test_an_edge_suspended_and_resumed(self) -> None:
        stream = self.dial("edge-1", self.echo)
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.append(read_all(stream)), daemon=True)
        reader.start()
        half = len(BLOCK) // 2
        stream.sendall(BLOCK[:half])
        self.signal("edge-1", signal.SIGSTOP)
        writer = threading.Thread(target=lambda: stream.sendall(BLOCK[half:]), daemon=True)
        writer.start()
        writer.join(5)  # as long as the edge is suspended
        self.signal("edge-1", signal.SIGCONT)
        writer.join(20)
        stream.shutdown(socket.SHUT_WR)
        reader.join(20)
        self.assertEqual(b"".join(got), BLOCK)

    def test_an_edge_suspended_for_long(self) -> None:
        stream = self.call(self.door)
        stream.sendall(b"x")
        self.assertEqual(stream.recv(1), b"x")
        self.signal("edge-1", signal.SIGSTOP)
        self.assertCut(stream, 60)
        with self.assertRaisesRegex(Refused, "404|503"):
            self.dial("edge-1", self.echo)
        self.signal("edge-1", signal.SIGCONT)
        self.wait_for("edge-1", self.echo)

    def test_a_hung_edges_replacement_is_let_in_at_once(self) -> None:
        self.signal("edge-1", signal.SIGSTOP)
        self.edge("edge-1", self.reverse, process="replacement")
        wait_until(lambda: self.logged("replacement", "tunnel session started"), "the replacement is let in")
        self.assertEqual(self.round_trip("edge-1", self.reverse, b"abc"), b"cba")

    def test_certificates_rotated_mid_stream(self) -> None:
        stream = self.dial("edge-1", self.echo)
        stream.sendall(b"before")
        self.assertEqual(stream.recv(100), b"before")
        new = self.authority.issue("tunnel", dns=["localhost"], ips=["127.0.0.1"], directory=self.pki)
        self.authority.issue("edge-1", directory=self.pki)
        for process in ("cloud", "edge-1"):
            wait_until(lambda name=process: self.logged(name, "reloaded TLS files"), "the files are read")  # type: ignore[misc]
        context = self.client_context()
        with (
            socket.create_connection(("127.0.0.1", self.port)) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            shown = secured.getpeercert()
            assert shown is not None
            self.assertEqual(int(str(shown["serialNumber"]), 16), new.serial)
        stream.sendall(b"after")
        self.assertEqual(stream.recv(100), b"after")
        self.assertEqual(self.round_trip("edge-1", self.reverse, BLOCK), BLOCK[::-1])
        self.edge("edge-1", self.reverse, process="later")
        wait_until(lambda: self.logged("later", "tunnel session started"), "the new pair is let in")

    def client_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.pki / "ca.crt"))
        context.load_cert_chain(self.pki / "edge-1.crt", self.pki / "edge-1.key")
        return context
