"""A link between a site and the cloud that a test can break in every way."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from random import random


class FaultyLink:
    """Relays connections to ``target`` (a port on loopback) from ``port``, from threads of its own."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.accepted = 0
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._silent: set[socket.socket] = set()
        self._corrupt = threading.Event()
        self._ignored = 0.0
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return  # closed
            if random() < self._ignored:
                with self._lock:
                    self._pairs.append((near, near))
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                near.close()
                continue
            with self._lock:
                self.accepted += 1
                self._pairs.append((near, far))
            for source, sink in ((near, far), (far, near)):
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(262144):
                if source in self._silent:
                    continue  # the link swallows it
                if self._corrupt.is_set() and len(data) > 100:
                    self._corrupt.clear()
                    data = data[:50] + bytes([data[50] ^ 1]) + data[51:]
                sink.sendall(data)
            if source not in self._silent:
                sink.shutdown(socket.SHUT_WR)

    def silence(self) -> None:
        """Swallow all that present connections carry from now on; new connections work."""
        with self._lock:
            for pair in self._pairs:
                self._silent.update(pair)

    def reset(self) -> None:
        """End present connections with RST, both ways."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for sock in pair:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    sock.shutdown(socket.SHUT_RD)  # wakes the thread that reads
                    sock.close()

    def corrupt(self) -> None:
        """Change one bit of the next piece that passes."""
        self._corrupt.set()

    def ignore(self, share: float) -> None:
        """From now on take this share of new connections and leave them without an answer."""
        self._ignored = share

    def close(self) -> None:
        """End."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.reset()
