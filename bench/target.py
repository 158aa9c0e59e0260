"""``python -m bench.target PORT``: what both relays lead to.

The first byte of a connection says what it does: ``E`` echoes; ``S`` reads the number of bytes that the next
eight announce, then answers with one byte, as a relay may not carry half-closes.
"""

from __future__ import annotations

import select
import socket
import struct
import sys

SIZE = 1024 * 1024


class Connection:
    """One client. What it does not take back is kept, and nothing more is read from it meanwhile."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.mode = b""
        self.left = 0
        self.head = b""
        self.unsent = memoryview(b"")

    def send(self, data: memoryview) -> None:
        """Send what the client takes now."""
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        self.unsent = memoryview(bytes(data[sent:]))

    def receive(self, buffer: bytearray) -> bool:
        """Take what is there; False at the end."""
        count = self.sock.recv_into(buffer)
        if not count:
            return False
        data = memoryview(buffer)[:count]
        if not self.mode:
            self.mode = bytes(data[:1])
            data = data[1:]
        if self.mode == b"E":
            self.send(data)
            return True
        if len(self.head) < 8:
            need = 8 - len(self.head)
            self.head += bytes(data[:need])
            data = data[need:]
            if len(self.head) == 8:
                (self.left,) = struct.unpack(">Q", self.head)
        self.left -= len(data)
        if len(self.head) == 8 and self.left <= 0:
            self.send(memoryview(b"!"))
            self.head = b""
        return True


def main() -> None:
    """Serve until killed."""
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096)
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    connections: dict[int, Connection] = {}
    buffer = bytearray(SIZE)
    while True:
        for number, _ in poll.poll():
            if number == listener.fileno():
                sock, _ = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.setblocking(False)
                connections[sock.fileno()] = Connection(sock)
                poll.register(sock, select.EPOLLIN)
                continue
            connection = connections[number]
            blocked = len(connection.unsent) > 0
            try:
                if blocked:
                    connection.send(connection.unsent)
                elif not connection.receive(buffer):
                    raise ConnectionError
            except OSError:
                poll.unregister(number)
                connections.pop(number).sock.close()
                continue
            if blocked != (len(connection.unsent) > 0):
                poll.modify(number, select.EPOLLIN if blocked else select.EPOLLOUT)


if __name__ == "__main__":
    main()
