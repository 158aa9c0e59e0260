"""Bandwidth limits on real processes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

from superedge.testing.ports import free_port
from tests.faults.world import BLOCK, FaultCase, echo, reverse

RATE = 1_000_000
SIZE = 1_500_000


class BandwidthTests(FaultCase):
    def setUp(self) -> None:
        super().setUp()
        self.reverse = self.target(reverse)
        self.echo = self.target(echo)

    def two_at_once(self, dial: Callable[[], socket.socket]) -> None:
        """Two streams of SIZE bytes there and back share the rate, and a third is alive beside them."""
        answers: list[bytes] = []

        def exchange() -> None:
            with dial() as stream:
                stream.sendall(BLOCK[:SIZE])
                stream.shutdown(socket.SHUT_WR)
                data = bytearray()
                while piece := stream.recv(262144):
                    data += piece
                answers.append(bytes(data))

        started = time.monotonic()
        threads = [threading.Thread(target=exchange, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        echoes = 0
        with self.dial("edge-1", self.echo) as small:
            while any(thread.is_alive() for thread in threads):
                small.sendall(b"small")
                self.assertEqual(small.recv(100), b"small")
                echoes += 1
                time.sleep(0.05)
        seconds = time.monotonic() - started
        self.assertEqual(answers, [BLOCK[:SIZE][::-1]] * 2)
        self.assertGreater(seconds, 2 * SIZE / RATE - 0.5, "no faster than the limit")
        self.assertGreater(echoes, 10)
        self.report(f"{2 * SIZE} bytes there and back at {RATE} bytes a second", seconds)

    def test_of_a_node(self) -> None:
        limits = f"bandwidth = {RATE}\n"
        self.cloud(f"[tunnel_cloud.limits]\n{limits}")
        self.edge("edge-1", self.reverse, self.echo, more=f"[tunnel_edge.limits]\n{limits}")
        self.wait_for("edge-1", self.echo)
        self.two_at_once(lambda: self.dial("edge-1", self.reverse))

    def test_of_a_listener(self) -> None:
        door = free_port()
        self.cloud(
            f"""
[[tunnel_cloud.listeners]]
kind = "tcp"
listen = "127.0.0.1:{door}"
node = "edge-1"
target = "127.0.0.1:{self.reverse.port}"
bandwidth = {RATE}
"""
        )
        self.edge("edge-1", self.reverse, self.echo)
        self.wait_for("edge-1", self.echo)
        self.two_at_once(lambda: self.call(door))
