"""A TCP forwarder in a thread, in place of a Kubernetes Service."""

from __future__ import annotations

import contextlib
import socket
from socketserver import BaseRequestHandler, ThreadingTCPServer
from threading import Thread


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


class Forwarder(ThreadingTCPServer):
    """Listens on ``address``; each connection goes to the first target that accepts it."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: tuple[str, int], *targets: tuple[str, int]) -> None:
        self.targets = targets
        self.connections: set[socket.socket] = set()
        super().__init__(address, _Connection)
        Thread(target=self.serve_forever, daemon=True).start()

    def lead_to(self, *targets: tuple[str, int]) -> None:
        """Other targets from now on; connections that are there end."""
        self.targets = targets
        for sock in list(self.connections):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Accept no more connections."""
        self.shutdown()
        self.server_close()


class _Connection(BaseRequestHandler):
    server: Forwarder

    def handle(self) -> None:
        for target in self.server.targets:
            with contextlib.suppress(OSError), socket.create_connection(target) as onward:
                Thread(target=_copy, args=(onward, self.request), daemon=True).start()
                self.server.connections.add(onward)
                _copy(self.request, onward)
                self.server.connections.discard(onward)
                return
