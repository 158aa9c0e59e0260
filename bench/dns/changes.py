"""Services that change a thousand times a second: how soon an answer has it, and what other answers wait."""

from __future__ import annotations

import json
import queue
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from dnslib import DNSRecord

from superedge.tls.identity import Identity

RATE = 1000
PROBED = 20
"""Changes of which one is waited for."""
SERVICES = 5000


class Delays(NamedTuple):
    """Milliseconds from a watch event to the answer that has it."""

    median: float
    p99: float
    worst: float


def address(number: int) -> str:
    """Of a Service, different after each change."""
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def service(number: int, version: int) -> dict[str, Any]:
    """A Service whose address is that of its version."""
    return {
        "metadata": {"name": f"svc-{number}", "namespace": "default", "resourceVersion": str(version)},
        "spec": {
            "clusterIP": address(version),
            "clusterIPs": [address(version)],
            "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        },
    }


class APIServer:
    """Lists and watches of Services over HTTPS, in threads."""

    def __init__(self, identity: Identity) -> None:
        self.watches: list[Any] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity.certificate, identity.key)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """One list, or a watch, which stays open."""
        services = "/services" in request.path
        request.send_response(200)
        request.send_header("Content-Type", "application/json")
        request.send_header("Audit-Id", "1")
        if "watch=" in request.path:
            request.send_header("Transfer-Encoding", "chunked")
            request.end_headers()
            if services:
                self.watches.append(request.wfile)
            threading.Event().wait()
        kind = "ServiceList" if services else "EndpointSliceList"
        items = [service(number, number + 1) for number in range(SERVICES)] if services else []
        body = json.dumps(
            {"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": str(SERVICES)}, "items": items}
        ).encode()
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    def change(self, number: int, version: int) -> None:
        """Tell whoever watches."""
        event = json.dumps({"type": "MODIFIED", "object": service(number, version)}).encode() + b"\n"
        for watch in self.watches:
            watch.write(b"%x\r\n%s\r\n" % (len(event), event))

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()


def measure(server: APIServer, port: int, seconds: float) -> Delays:
    """Change Services for a while, and ask for some of them until the answer is new."""
    waiting: queue.Queue[tuple[int, int, float] | None] = queue.Queue()
    delays: list[float] = []
    asking = threading.Thread(target=_ask, args=(port, waiting, delays))
    asking.start()
    begun = time.monotonic()
    for count in range(int(seconds * RATE)):
        while time.monotonic() < begun + count / RATE:
            time.sleep(0.0005)
        number, version = count % SERVICES, SERVICES + 1 + count
        server.change(number, version)
        if count % PROBED == 0:
            waiting.put((number, version, time.monotonic()))
    waiting.put(None)
    asking.join()
    return of_all(delays)


def of_all(delays: Sequence[float]) -> Delays:
    """Of delays in seconds."""
    ordered = sorted(delay * 1000 for delay in delays)
    return Delays(ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100], ordered[-1])


def _ask(port: int, waiting: queue.Queue[tuple[int, int, float] | None], delays: list[float]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", port))
        sock.settimeout(2.0)
        while (change := waiting.get()) is not None:
            number, version, sent = change
            query = DNSRecord.question(f"svc-{number}.default.svc.cluster.local").pack()
            while True:
                sock.send(query)
                if socket.inet_aton(address(version)) in sock.recv(4096):
                    break
            delays.append(time.monotonic() - sent)
