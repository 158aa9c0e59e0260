"""``python -m bench.delay PORT TARGET_PORT MILLISECONDS [MEGABYTES]``: a relay that makes the path longer.

MILLISECONDS are of the round trip; of several, ``2,100``, SIGUSR2 makes the next one hold. MEGABYTES a second
is what the path carries each way; without, it carries what the relay can. SIGUSR1 cuts connections silently:
they stay open and nothing passes. SIGHUP ends them.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import sys
import time
from collections import deque

READ_SIZE = 256 * 1024
MAX_UNDER_WAY = 128 * 1024 * 1024
"""Bytes on a path whose rate has no limit."""
QUEUE = 0.02
"""Seconds of its rate that a path with a limit keeps waiting, as a router's queue does."""

_buffer = memoryview(bytearray(READ_SIZE))


class Direction:
    """Bytes from one socket on their way to the other."""

    def __init__(self, source: socket.socket, sink: socket.socket, delay: float, rate: float) -> None:
        self.source, self.sink = source, sink
        self.delay, self._rate = delay, rate
        self._limit = int(rate * (delay + QUEUE)) if rate else MAX_UNDER_WAY
        self._free_at = 0.0
        self._waiting: deque[tuple[float, memoryview]] = deque()
        self._under_way = 0
        self.ended = self.blocked = self.cut = False

    @property
    def wants(self) -> bool:
        """Whether more may be read."""
        return not (self.ended or self.cut) and self._under_way < self._limit

    @property
    def due(self) -> float | None:
        """When the next bytes arrive; None when none are to be sent now."""
        return self._waiting[0][0] if self._waiting and not (self.blocked or self.cut) else None

    def take(self, now: float) -> None:
        """Read once."""
        try:
            data = bytes(_buffer[: self.source.recv_into(_buffer)])
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self.ended = not data
        self._free_at = max(self._free_at, now) + (len(data) / self._rate if self._rate else 0.0)
        self._under_way += len(data)
        self._waiting.append((self._free_at + self.delay, memoryview(data)))

    def give(self, now: float) -> bool:
        """Send what has arrived; False when the connection is broken."""
        while self._waiting and self._waiting[0][0] <= now:
            due, data = self._waiting[0]
            if not data:
                with contextlib.suppress(OSError):
                    self.sink.shutdown(socket.SHUT_WR)
                self._waiting.popleft()
                continue
            try:
                sent = self.sink.send(data)
            except BlockingIOError:
                self.blocked = True
                return True
            except OSError:
                return False
            self._under_way -= sent
            if sent < len(data):
                self._waiting[0] = (due, data[sent:])
            else:
                self._waiting.popleft()
        return True

    @property
    def done(self) -> bool:
        """Everything, the end included, has passed."""
        return self.ended and not self._waiting


class Relay:
    """Both directions of every connection."""

    def __init__(self, port: int, target: int, delays: list[float], rate: float) -> None:
        self._target, self._delays, self._rate = target, delays, rate
        self._listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self._poll = select.epoll()
        self._poll.register(self._listener, select.EPOLLIN)
        self._from: dict[int, Direction] = {}
        self._to: dict[int, Direction] = {}
        signal.signal(signal.SIGUSR1, lambda *_: self._cut())
        signal.signal(signal.SIGUSR2, lambda *_: self._next_delay())
        signal.signal(signal.SIGHUP, lambda *_: self._end())

    def _cut(self) -> None:
        for direction in self._from.values():
            direction.cut = True
            self._watch(direction.source)

    def _next_delay(self) -> None:
        self._delays = self._delays[1:] + self._delays[:1]
        for direction in self._from.values():
            direction.delay = self._delays[0]

    def _end(self) -> None:
        for direction in self._from.values():
            with contextlib.suppress(OSError):
                direction.source.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        far = socket.socket()
        for sock in (near, far):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._rate:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, max(32_768, int(self._rate * 0.002)))
        try:
            far.connect(("127.0.0.1", self._target))
        except OSError:
            near.close()
            far.close()
            return
        for source, sink in ((near, far), (far, near)):
            source.setblocking(False)
            direction = Direction(source, sink, self._delays[0], self._rate)
            self._from[source.fileno()] = self._to[sink.fileno()] = direction
        for sock in (near, far):
            self._poll.register(sock, select.EPOLLIN)

    def _watch(self, sock: socket.socket) -> None:
        number = sock.fileno()
        reads = select.EPOLLIN if self._from[number].wants else 0
        self._poll.modify(number, reads | (select.EPOLLOUT if self._to[number].blocked else 0))

    def _close(self, direction: Direction) -> None:
        for sock in (direction.source, direction.sink):
            self._poll.unregister(sock)
            del self._from[sock.fileno()], self._to[sock.fileno()]
            sock.close()

    def run(self) -> None:
        """Relay until killed."""
        while True:
            dues = [due for direction in self._from.values() if (due := direction.due) is not None]
            wait = max(0.0, min(dues) - time.monotonic()) if dues else -1
            events = self._poll.poll(wait)
            now = time.monotonic()
            for number, event in events:
                if number == self._listener.fileno():
                    self._accept()
                elif number in self._from:
                    if event & select.EPOLLOUT:
                        self._to[number].blocked = False
                    if event & ~select.EPOLLOUT and self._from[number].wants:
                        self._from[number].take(now)
                    self._watch(self._from[number].source)
            for direction in list(self._from.values()):
                if direction.due is None or direction.due > now:
                    continue
                if not direction.give(now) or (direction.done and self._to[direction.source.fileno()].done):
                    self._close(direction)
                    continue
                self._watch(direction.source)
                self._watch(direction.sink)


def main() -> None:
    """Read the arguments and relay."""
    port, target, milliseconds, *rate = sys.argv[1:]
    delays = [float(each) / 2000 for each in milliseconds.split(",")]
    Relay(int(port), int(target), delays, float(rate[0]) * 1e6 if rate else 0.0).run()


if __name__ == "__main__":
    main()
