"""Many watches at once: how long events take to reach all of them, and what that costs the proxy."""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple, cast

from bench.harness import cpu_seconds

WATCH = "/api/v1/namespaces/default/pods?watch=true&resourceVersion=1000"


class Fanout(NamedTuple):
    """Seconds until every watch had every event, and processor seconds of the proxy."""

    seconds: float
    cpu: float


def _open(port: int, context: ssl.SSLContext, token: str) -> ssl.SSLSocket:
    raw = socket.create_connection(("127.0.0.1", port), 20)
    sock = context.wrap_socket(raw, server_hostname="localhost")
    head = f"GET {WATCH} HTTP/1.1\r\nHost: localhost\r\n{token}\r\nAccept: application/json\r\n\r\n"
    sock.sendall(head.encode())
    seen = b""
    while b"\r\n\r\n" not in seen:
        seen += sock.recv(4096)
    sock.setblocking(False)
    return sock


def fan_out(port: int, upstream: int, ca: Path, token: str, proxy: int, watches: int, events: int) -> Fanout:
    """Open the watches through ``port``, have ``upstream`` emit, and read until all is there."""
    context = ssl.create_default_context(cafile=str(ca))
    socks = [_open(port, context, token) for _ in range(watches)]
    selector = selectors.DefaultSelector()
    left = {}
    for sock in socks:
        selector.register(sock, selectors.EVENT_READ)
        left[sock] = events
    cpu = cpu_seconds(proxy)
    started = time.perf_counter()
    url = f"https://127.0.0.1:{upstream}/emit?count={events}"
    emitter = threading.Thread(
        target=lambda: urllib.request.urlopen(url, context=context, timeout=120).read()
    )
    emitter.start()
    waiting = watches
    while waiting:
        ready = selector.select(30)
        if not ready:
            raise SystemExit(f"bench: {waiting} watches did not get everything")
        for key, _ in ready:
            sock = cast(ssl.SSLSocket, key.fileobj)
            try:
                while True:
                    data = sock.recv(256 * 1024)
                    if not data:
                        raise SystemExit("bench: a watch ended")
                    left[sock] -= data.count(b"~")
            except ssl.SSLWantReadError:
                pass
            if left[sock] <= 0:
                selector.unregister(sock)
                waiting -= 1
    seconds = time.perf_counter() - started
    cpu = cpu_seconds(proxy) - cpu
    emitter.join()
    for sock in socks:
        sock.close()
    return Fanout(seconds, cpu)


def commit_share(
    port: int, upstream: int, ca: Path, token: str, proxy: int, rate: int, seconds: int
) -> float:
    """The share of a core that the proxy needs to forward one watch's events and to keep them, in percent."""
    context = ssl.create_default_context(cafile=str(ca))
    sock = _open(port, context, token)
    sock.setblocking(True)
    sock.settimeout(30)
    left = rate * seconds
    url = f"https://127.0.0.1:{upstream}/emit?count={left}&rate={rate}"
    emitter = threading.Thread(
        target=lambda: urllib.request.urlopen(url, context=context, timeout=120).read()
    )
    cpu, started = cpu_seconds(proxy), time.perf_counter()
    emitter.start()
    while left > 0:
        data = sock.recv(256 * 1024)
        if not data:
            raise SystemExit("bench: the watch ended")
        left -= data.count(b"~")
    emitter.join()
    took = time.perf_counter() - started
    time.sleep(0.5)  # the last batch
    used = cpu_seconds(proxy) - cpu
    sock.close()
    return 100 * used / took
