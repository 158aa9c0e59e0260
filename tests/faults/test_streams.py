"""Streams to their last byte, and targets and nodes that are not what they should be."""

from __future__ import annotations

import socket
import threading
import time

from tests.faults.world import BLOCK, FaultCase, Refused, Target, echo, read_all, reverse


class StreamTests(FaultCase):
    def setUp(self) -> None:
        super().setUp()
        self.reverse = self.target(reverse)
        self.echo = self.target(echo)
        self.cloud()

    def start(self, *targets: Target | int) -> None:
        self.edge("edge-1", self.reverse, self.echo, *targets)
        self.wait_for("edge-1", self.echo)

    def test_half_closed_by_the_caller(self) -> None:
        self.start()
        for data in (b"", b"x", BLOCK):
            self.assertEqual(self.round_trip("edge-1", self.reverse, data), data[::-1])

    def test_half_closed_by_the_target(self) -> None:
        received: list[bytes] = []

        def say_first(sock: socket.socket) -> None:
            sock.sendall(BLOCK)
            sock.shutdown(socket.SHUT_WR)
            received.append(read_all(sock))

        target = self.target(say_first)
        self.start(target)
        del received[:]
        with self.dial("edge-1", target) as stream:
            self.assertEqual(read_all(stream), BLOCK)
            stream.sendall(BLOCK[::-1])
            stream.shutdown(socket.SHUT_WR)
            self.assertEqual(stream.recv(1), b"")
        deadline = time.monotonic() + 20
        while not received and time.monotonic() < deadline:
            time.sleep(0.01)
        self.assertEqual(received, [BLOCK[::-1]])

    def test_the_tail_of_a_stream_that_is_written_and_closed_at_once(self) -> None:
        def burst(sock: socket.socket) -> None:
            sock.sendall(BLOCK[:3_000_001])

        target = self.target(burst)
        received: list[bytes] = []
        sink = self.target(lambda sock: received.append(read_all(sock)))
        self.start(target, sink)
        for _ in range(20):
            with self.dial("edge-1", target) as stream:
                self.assertEqual(read_all(stream), BLOCK[:3_000_001])
        for count in range(1, 21):
            with self.dial("edge-1", sink) as stream:
                stream.sendall(BLOCK[:3_000_001])
            deadline = time.monotonic() + 20
            while len(received) < count and time.monotonic() < deadline:
                time.sleep(0.01)
            self.assertEqual(received[-1:], [BLOCK[:3_000_001]])

    def test_black_holed_targets_beside_live_ones(self) -> None:
        # A listener whose queue is full answers no SYN.
        hole = socket.socket()
        self.addCleanup(hole.close)
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        port = hole.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
            self.addCleanup(filler.close)
        self.start(port)
        answers: list[str] = []

        def dial_the_hole() -> None:
            try:
                self.dial("edge-1", port, timeout=40)
            except Refused as problem:
                answers.append(str(problem))

        dialling = [threading.Thread(target=dial_the_hole, daemon=True) for _ in range(100)]
        for thread in dialling:
            thread.start()
        for _ in range(5):
            self.assertEqual(self.round_trip("edge-1", self.reverse, BLOCK), BLOCK[::-1])
        self.assertEqual(answers, [], "all of that while none of the dials had ended")
        for thread in dialling:
            thread.join(30)
        self.assertEqual({answer.split(" ")[1] for answer in answers}, {"504"})
        self.assertEqual(len(answers), 100)

    def test_a_stalled_reader_moves_nobody(self) -> None:
        def pour(sock: socket.socket) -> None:
            while True:
                sock.sendall(BLOCK)

        target = self.target(pour)
        self.start(target)
        stalled = [self.dial("edge-1", target) for _ in range(8)]
        for _ in range(5):
            self.assertEqual(self.round_trip("edge-1", self.reverse, BLOCK), BLOCK[::-1])
        for stream in stalled:
            stream.close()
        self.assertEqual(self.round_trip("edge-1", self.reverse, BLOCK), BLOCK[::-1])

    def test_a_nodes_certificate_serves_no_other_node(self) -> None:
        self.start()
        self.edge("edge-2", self.reverse)
        self.wait_for("edge-2", self.reverse)
        self.kill("edge-1")
        deadline = time.monotonic() + 20
        while True:
            try:
                self.dial("edge-1", self.reverse)
            except Refused as problem:
                self.assertRegex(str(problem), "404|503")
                if " 404 " in str(problem):
                    break
            self.assertLess(time.monotonic(), deadline)
        self.assertEqual(self.round_trip("edge-2", self.reverse, b"abc"), b"cba")
