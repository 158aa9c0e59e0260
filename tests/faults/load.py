"""Many streams at once, every byte checked: ``serve`` is the target, ``call`` the callers.

Even streams bring bytes to the caller, odd ones to the target. Each has a content of its own, so that bytes
of another stream, or of another place, are noticed.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
import time
from random import Random

SIZE = 1 << 20
_block = Random(4).randbytes(SIZE)
BLOCK = memoryview(_block + _block)
HEAD = struct.Struct(">QQ")
PIECE = 65536


def content(number: int, at: int, count: int) -> memoryview:
    """What stream ``number`` carries from byte ``at`` on, at most SIZE bytes."""
    start = (number * 65537 + at) % SIZE
    return BLOCK[start : start + count]


class Side:
    """One end of one stream. ``step`` does what it can; ``done`` when all was sent or checked."""

    def __init__(self, sock: socket.socket, number: int, size: int, sends: bool) -> None:
        self.sock = sock
        self.number = number
        self.size = size
        self.sends = sends
        self.at = 0
        self.done = False
        sock.setblocking(False)

    @property
    def events(self) -> int:
        return select.EPOLLOUT if self.sends else select.EPOLLIN

    def step(self) -> None:
        if self.sends:
            count = min(PIECE, self.size - self.at)
            self.at += self.sock.send(content(self.number, self.at, count))
            if self.at == self.size:
                self.sock.shutdown(socket.SHUT_WR)
                self.done = True
            return
        data = self.sock.recv(PIECE)
        if not data:
            if self.at != self.size:
                raise SystemExit(f"stream {self.number} ended after {self.at} of {self.size} bytes")
            self.done = True
            return
        if data != content(self.number, self.at, len(data)):
            raise SystemExit(f"stream {self.number} is not what was sent, from byte {self.at} on")
        self.at += len(data)


def step(sides: dict[int, Side], poll: select.epoll, ready: int) -> bool:
    """Step a side; whether it is done."""
    side = sides[ready]
    try:
        side.step()
    except BlockingIOError:
        return False
    if side.done:
        poll.unregister(ready)
        del sides[ready]
        return True
    return False


def serve() -> None:
    """The target: prints its port, then serves until it is killed."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    listener.setblocking(False)
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    heads: dict[int, socket.socket] = {}
    sides: dict[int, Side] = {}
    ended: dict[int, socket.socket] = {}
    while True:
        for ready, _ in poll.poll():
            if ready == listener.fileno():
                sock, _ = listener.accept()
                heads[sock.fileno()] = sock
                poll.register(sock, select.EPOLLIN)
            elif ready in heads:
                sock = heads.pop(ready)
                head = sock.recv(HEAD.size)
                if len(head) < HEAD.size:
                    poll.unregister(ready)
                    sock.close()
                    continue
                number, size = HEAD.unpack(head)
                sides[ready] = side = Side(sock, number, size, sends=number % 2 == 0)
                poll.modify(ready, side.events)
            elif ready in sides:
                side = sides[ready]
                if step(sides, poll, ready):
                    if side.sends:
                        ended[ready] = side.sock
                        poll.register(ready, select.EPOLLIN)
                    else:
                        side.sock.setblocking(True)
                        side.sock.sendall(b"!")
                        side.sock.close()
            else:
                poll.unregister(ready)
                ended.pop(ready).close()


def call(door: str, line: str, count: int, size: int) -> None:
    """Open every stream, then let all of them carry ``size`` bytes; prints what it took."""
    began = time.monotonic()
    streams: list[socket.socket] = []
    for _ in range(count):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(60)
        sock.connect(door)
        sock.sendall(f"CONNECT {line} HTTP/1.1\r\n\r\n".encode())
        answer = sock.recv(1000)
        if not answer.startswith(b"HTTP/1.1 200") or not answer.endswith(b"\r\n\r\n"):
            raise SystemExit(f"stream {len(streams)}: {answer!r}")
        streams.append(sock)
    opened = time.monotonic()
    poll = select.epoll()
    sides: dict[int, Side] = {}
    for number, sock in enumerate(streams):
        sock.sendall(HEAD.pack(number, size))
        sides[sock.fileno()] = side = Side(sock, number, size, sends=number % 2 == 1)
        poll.register(sock, side.events)
    answers = {sock.fileno(): sock for sock in streams[1::2]}
    left = count
    while left:
        events = poll.poll(120)
        if not events:
            raise SystemExit(f"nothing moved for two minutes; {left} streams are left")
        for ready, _ in events:
            if ready not in sides:
                if answers[ready].recv(10) != b"!":
                    raise SystemExit("the target did not get everything")
                poll.unregister(ready)
                left -= 1
            elif step(sides, poll, ready):
                if ready in answers:
                    poll.register(ready, select.EPOLLIN)
                else:
                    left -= 1
    seconds = time.monotonic() - opened
    sys.stdout.write(
        f"{count} streams opened in {opened - began:.1f} s, {count * size >> 20} MiB in {seconds:.1f} s"
    )


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        call(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
