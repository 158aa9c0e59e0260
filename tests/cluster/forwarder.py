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
    """Listens on ``address``; each connection goes to the first of ``targets`` that accepts it."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: tuple[str, int], *targets: tuple[str, int]) -> None:
        self.targets = targets
        super().__init__(address, _Connection)
        Thread(target=self.serve_forever, daemon=True).start()

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
                _copy(self.request, onward)
                return
