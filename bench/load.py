"""Loads for the relays: bulk, small exchanges, new connections. Blocking sockets and one epoll."""

from __future__ import annotations

import math
import os
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import NamedTuple

BLOCK = os.urandom(256 * 1024)


class Exchanges(NamedTuple):
    """Small exchanges: how many a second, and how long they took, milliseconds."""

    rate: float
    p50: float
    p99: float


def connect(port: int, mode: bytes) -> socket.socket:
    """A connection to the target through what listens on a port."""
    sock = socket.create_connection(("127.0.0.1", port), 20)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.sendall(mode)
    return sock


def bulk(port: int, connections: int, total: int) -> float:
    """MB/s of sending ``total`` bytes over that many connections together."""
    socks = [connect(port, b"S") for _ in range(connections)]
    share = total // connections // len(BLOCK) * len(BLOCK)
    by_number = {sock.fileno(): sock for sock in socks}
    left = dict.fromkeys(by_number, share)
    poll = select.epoll()
    started = time.perf_counter()
    for sock in socks:
        sock.sendall(struct.pack(">Q", share))
        sock.setblocking(False)
        poll.register(sock, select.EPOLLOUT)
    waiting = len(socks)
    while waiting:
        for number, event in poll.poll(30):
            sock, rest = by_number[number], left[number]
            if event & select.EPOLLOUT and rest:
                offset = (share - rest) % len(BLOCK)
                rest -= sock.send(memoryview(BLOCK)[offset : offset + rest])
                left[number] = rest
                if not rest:
                    poll.modify(sock, select.EPOLLIN)
            elif event & select.EPOLLIN:
                if sock.recv(1) != b"!":
                    raise SystemExit("bench: the target did not get everything")
                poll.unregister(sock)
                waiting -= 1
    seconds = time.perf_counter() - started
    for sock in socks:
        sock.close()
    return share * connections / seconds / 1e6


def exchanges(port: int, connections: int, seconds: float, size: int = 1024) -> Exchanges:
    """Echoes of ``size`` bytes, one at a time on each connection."""
    message = os.urandom(size)
    poll = select.epoll()
    socks: dict[int, socket.socket] = {}
    sent: dict[int, float] = {}
    got: dict[int, int] = {}
    for _ in range(connections):
        sock = connect(port, b"E")
        socks[sock.fileno()] = sock
        poll.register(sock, select.EPOLLIN)
    latencies: list[float] = []
    started = time.perf_counter()
    for number, sock in socks.items():
        got[number] = 0
        sent[number] = time.perf_counter()
        sock.sendall(message)
    end = started + seconds
    now = started
    while now < end:
        for number, _ in poll.poll(1):
            got[number] += len(socks[number].recv(size))
            if got[number] == size:
                now = time.perf_counter()
                latencies.append(now - sent[number])
                got[number] = 0
                sent[number] = now
                socks[number].sendall(message)
        now = time.perf_counter()
    for sock in socks.values():
        sock.close()
    latencies.sort()
    count = len(latencies)
    if not count:
        return Exchanges(0.0, 0.0, 0.0)
    p50, p99 = latencies[count // 2] * 1000, latencies[int(count * 0.99)] * 1000
    return Exchanges(count / (now - started), p50, p99)


def new_connections(port: int, seconds: float, at_once: int = 1, most: float = math.inf) -> float:
    """Connections a second, each with one exchange of a byte, ``at_once`` of them under way together.

    For so many seconds, or until there were ``most``.
    """
    poll = select.epoll()
    socks: dict[int, socket.socket] = {}

    def begin() -> None:
        sock = connect(port, b"Ex")
        socks[sock.fileno()] = sock
        poll.register(sock, select.EPOLLIN)

    started = time.perf_counter()
    for _ in range(at_once):
        begin()
    count = 0
    while time.perf_counter() - started < seconds and count < most:
        for number, _ in poll.poll(30):
            with socks.pop(number) as sock:
                if sock.recv(1) != b"x":
                    raise SystemExit("bench: no echo")
            count += 1
            begin()
    rate = count / (time.perf_counter() - started)
    for sock in socks.values():
        sock.close()
    return rate


def stream(port: int, seconds: float, pace: float = 0.0) -> None:
    """Send without end, at most ``pace`` MB/s."""
    sock = connect(port, b"S")
    sock.sendall(struct.pack(">Q", 1 << 60))
    started, sent = time.perf_counter(), 0
    while (now := time.perf_counter() - started) < seconds:
        if pace and sent > now * pace * 1e6:
            time.sleep(sent / pace / 1e6 - now)
        sent += sock.send(memoryview(BLOCK)[:65536])


def bulk_across(port: int, change: Callable[[], None], seconds: float) -> tuple[float, float]:
    """MB/s of one stream in the seconds before a change, and in as many that begin a second after it."""
    with connect(port, b"S") as sock:
        sock.sendall(struct.pack(">Q", 1 << 60))
        before = _sent(sock, seconds)
        change()
        _sent(sock, 1.0)
        return before, _sent(sock, seconds)


def _sent(sock: socket.socket, seconds: float) -> float:
    started, sent = time.perf_counter(), 0
    while (now := time.perf_counter() - started) < seconds:
        sent += sock.send(memoryview(BLOCK)[:65536])
    return sent / now / 1e6


class SlowReader:
    """Asks for far more than it reads."""

    def __init__(self, port: int) -> None:
        self._sock = connect(port, b"E")
        self._sock.setblocking(False)
        self.taken = 0
        """Bytes that were taken off its hands."""

    def push(self) -> None:
        """Send until nobody takes more; nothing of the echo is read."""
        for _ in range(1000):
            try:
                self.taken += self._sock.send(BLOCK)
            except BlockingIOError:
                time.sleep(0.01)

    def close(self) -> None:
        """Give up."""
        self._sock.close()
