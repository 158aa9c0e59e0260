"""curl through the http and https listeners, and the edge through tinyproxy."""

from __future__ import annotations

import hashlib
import shutil
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from superedge.testing.ports import free_port
from tests.faults.world import BLOCK, FaultCase, Target, echo, wait_until


class _Handler(BaseHTTPRequestHandler):
    """Answers with the method and a digest of the body."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = b""
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        said = f"{self.command} {self.path} {hashlib.sha256(body).hexdigest()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said)

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def log_message(self, *arguments: object) -> None:
        """Nothing."""


class CurlTests(FaultCase):
    def setUp(self) -> None:
        super().setUp()
        for name in ("front", "curl", "node-client"):
            names = ["cloud.example", "shop-1", "shop-2"]
            self.authority.issue(name, dns=[*names, "kubelet"], directory=self.pki)
        plain, secured = self.serve(None), self.serve(self.server_context())
        self.http, self.https = free_port(), free_port()
        self.cloud(
            f"""
[[tunnel_cloud.listeners]]
kind = "http"
listen = "127.0.0.1:{self.http}"
target = "127.0.0.1:{plain}"
[[tunnel_cloud.listeners]]
kind = "https"
listen = "127.0.0.1:{self.https}"
certificate = "pki/front.crt"
key = "pki/front.key"
client_ca = ["pki/ca.crt"]
target = "127.0.0.1:{secured}"
"""
        )
        tls = """
[tunnel_edge.tls]
ca = ["pki/ca.crt"]
certificate = "pki/node-client.crt"
key = "pki/node-client.key"
server_name = "kubelet"
"""
        for node in ("shop-1", "shop-2"):
            self.edge(node, plain, secured, more=tls)
            self.wait_for(node, plain)

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.pki / "front.crt", self.pki / "front.key")
        context.load_verify_locations(self.pki / "ca.crt")
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def serve(self, context: ssl.SSLContext | None) -> int:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        server.daemon_threads = True
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return int(server.server_address[1])

    def curl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["curl", "--silent", "--show-error", "--max-time", "30", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def test_as_a_proxy_for_two_nodes_on_one_connection(self) -> None:
        digest = hashlib.sha256(b"").hexdigest()
        done = self.curl("-v", "-x", f"http://127.0.0.1:{self.http}", "http://shop-1/a", "http://shop-2/b")
        self.assertEqual(done.stdout, f"GET /a {digest}\nGET /b {digest}\n")
        self.assertIn("Re-using existing", done.stderr)
        done = self.curl("-x", f"http://127.0.0.1:{self.http}", "http://shop-9/")
        self.assertEqual(done.stdout, "no connected node is called shop-9\n")

    def test_bodies(self) -> None:
        file = self.directory / "block"
        file.write_bytes(BLOCK)
        digest = hashlib.sha256(BLOCK).hexdigest()
        url = f"http://127.0.0.1:{self.http}/x"
        host = ("-H", "Host: shop-1")
        for more in (
            (),
            ("-H", "Expect: 100-continue"),
            ("-H", "Transfer-Encoding: chunked"),
            ("--http1.0",),
        ):
            done = self.curl(*host, "-T", str(file), *more, url)
            self.assertEqual((done.stdout, done.stderr), (f"PUT /x {digest}\n", ""), more)
        done = self.curl(*host, "--head", url)
        self.assertTrue(done.stdout.startswith("HTTP/1.1 200 OK"), done)

    def test_https(self) -> None:
        pair = ("--cert", str(self.pki / "curl.crt"), "--key", str(self.pki / "curl.key"))
        where = ("--cacert", str(self.pki / "ca.crt"), "--connect-to", f"::127.0.0.1:{self.https}")
        digest = hashlib.sha256(b"abc").hexdigest()
        done = self.curl(*where, *pair, "-d", "abc", "https://shop-1/y", "https://shop-2/z")
        self.assertEqual(done.stdout, f"POST /y {digest}\nPOST /z {digest}\n")
        self.assertNotEqual(self.curl(*where, "https://shop-1/y").returncode, 0, "without a certificate")


class ProxyTests(FaultCase):
    def test_an_edge_behind_tinyproxy(self) -> None:
        program = shutil.which("tinyproxy")
        if program is None:
            self.fail("tinyproxy is needed")
        port = free_port()
        config = self.directory / "tinyproxy.conf"
        config.write_text(
            f"Port {port}\nListen 127.0.0.1\nTimeout 600\nBasicAuth me secret-word\nConnectPort {self.port}\n"
        )
        log = (self.directory / "tinyproxy.log").open("wb")
        self.addCleanup(log.close)
        self.processes["tinyproxy"] = subprocess.Popen([program, "-d", "-c", str(config)], stdout=log)
        target: Target = self.target(echo)
        self.cloud()
        credentials = self.directory / "credentials"
        credentials.write_text("me:wrong\n")
        more = (
            f'proxy = "http://127.0.0.1:{port}"\nproxy_credentials = "{credentials}"\nreconnect_maximum = 1.0'
        )
        self.edge("shop-1", target, more=more)
        wait_until(lambda: self.logged("shop-1", "it answered 40"), "the proxy refuses")
        credentials.write_text("me:secret-word\n")
        self.wait_for("shop-1", target)
        self.assertEqual(self.round_trip("shop-1", target, BLOCK), BLOCK)
        self.assertNotIn("secret-word", Path(self.directory / "shop-1.log").read_text())
