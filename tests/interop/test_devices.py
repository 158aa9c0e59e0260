"""The http listener in front of servers as nodes have them: nginx, Python's own, and a device's."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from typing import Any

from superedge.testing.ports import free_port
from tests.faults.world import FaultCase, wait_until

UPLOADS = 30
BIG = 5 << 20
NGINX = """
daemon off; master_process off; pid {directory}/nginx.pid; error_log {directory}/nginx.error;
events {{}}
http {{
  access_log off; client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
  client_max_body_size 1k;
  server {{ listen 127.0.0.1:{port}; root {directory}; }}
}}
"""
ANSWERS = {
    "bare-lf": b"HTTP/1.1 200 OK\nContent-Length: 5\nServer: device\n\nhello",
    "padded-chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5   \r\nhello\r\n0 \r\n\r\n",
    "folded": b"HTTP/1.1 200 OK\r\nX-Note: one,\r\n two\r\nContent-Length: 5\r\n\r\nhello",
    "same-length-twice": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "until-close": b"HTTP/1.0 200 OK\r\n\r\nhello",
}


def device(sock: socket.socket) -> None:
    """Answers what the path names; an upload is too large for it, which it says at once, and closes."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = sock.recv(1024)
        if not piece:
            return
        head += piece
    method, path = head.split()[:2]
    if method == b"PUT":
        sock.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbig\n")
    else:
        sock.sendall(ANSWERS[path.decode().strip("/")])


class DeviceTests(FaultCase):
    def setUp(self) -> None:
        super().setUp()
        self.nginx, self.python = free_port(), free_port()
        self.ports = {"nginx": self.nginx, "python": self.python, "device": self.target(device).port}
        program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
        if program is None:
            self.fail("nginx is needed")
        config = self.directory / "nginx.conf"
        config.write_text(NGINX.format(directory=self.directory, port=self.nginx))
        (self.directory / "page").write_text("hello")
        self.start("nginx", program, "-c", str(config))
        self.start("python", sys.executable, "-m", "http.server", "-b", "127.0.0.1", str(self.python))
        for port in (self.nginx, self.python):
            wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, "it listens")  # noqa: B023
        self.http = free_port()
        places = ", ".join(f'"{port}" = "127.0.0.1:{port}"' for port in self.ports.values())
        self.cloud(
            f"""
[[tunnel_cloud.listeners]]
kind = "http"
listen = "127.0.0.1:{self.http}"
ports = {{{places}}}
"""
        )
        self.edge("shop", *self.ports.values())
        self.wait_for("shop", self.nginx)
        self.upload = self.directory / "upload"
        self.upload.write_bytes(bytes(BIG))

    def start(self, name: str, *command: str) -> None:
        with (self.directory / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.directory)

    def ask(self, server: str, path: str, *more: str) -> str:
        """curl's status and body, through the tunnel."""
        done = subprocess.run(
            ["curl", "-sS", "--max-time", "30", "-w", " %{http_code}", "-H", "Expect:", *more]
            + ["-x", f"http://127.0.0.1:{self.http}", f"http://shop:{self.ports[server]}/{path}"],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr

    def test_pages(self) -> None:
        for server in ("nginx", "python"):
            for _ in range(3):
                self.assertEqual(self.ask(server, "page"), "hello 200", server)
        for name in ANSWERS:
            self.assertEqual(self.ask("device", name), "hello 200", name)

    def test_an_early_answer_to_an_upload(self) -> None:
        """All of them arrive, although the server closes while much of the upload is on its way."""
        found: dict[str, dict[Any, int]] = {}
        for server in self.ports:
            for _ in range(UPLOADS):
                status = self.ask(server, "page", "-o", os.devnull, "-T", str(self.upload)).split()[0]
                counts = found.setdefault(server, {})
                counts[status] = counts.get(status, 0) + 1
        wanted = {"nginx": {"413": UPLOADS}, "python": {"501": UPLOADS}, "device": {"413": UPLOADS}}
        self.assertEqual(found, wanted)
