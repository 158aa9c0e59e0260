"""An edge whose certificate is not taken: what both processes say, and what they count."""

from __future__ import annotations

import urllib.error
import urllib.request

from superedge.testing.ports import free_port
from superedge.tls.authority import Authority
from tests.faults.world import FaultCase, echo, wait_until


class RefusedTests(FaultCase):
    def setUp(self) -> None:
        super().setUp()
        self.ops = free_port()
        self.denied = self.directory / "denied"
        self.denied.write_text("")
        self.cloud('denied_certificates = "denied"')

    def start_edge(self) -> None:
        self.edge("shop", self.target(echo), more=f'[ops]\nlisten = "127.0.0.1:{self.ops}"\n')

    def warnings(self, name: str) -> list[str]:
        return [line["message"] for line in self.lines(name) if line["level"] == "warn"]

    def assertRefused(self, edge: tuple[str, ...], cloud: tuple[str, ...]) -> None:
        """Each end has a warning with these parts; the edge never had a session."""

        def said(name: str, parts: tuple[str, ...]) -> bool:
            return any(all(part in text for part in parts) for text in self.warnings(name))

        ours = ("the cloud at 127.0.0.1:", "refused the session", str(self.pki / "shop.crt"), *edge)
        wait_until(lambda: said("shop", ours), f"the edge says {ours}")
        wait_until(lambda: said("cloud", ("127.0.0.1:", *cloud)), f"the cloud says {cloud}")
        self.assertFalse(self.logged("shop", "tunnel session started"))
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ops}/metrics", timeout=5) as answer:
            counted = answer.read().decode()
        self.assertNotRegex(counted, r"(?m)^superedge_tunnel_sessions_started_total\{.*[1-9]")
        self.assertRegex(counted, r"(?m)^superedge_tunnel_sessions_refused_total\{.*[1-9]")
        with self.assertRaises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(f"http://127.0.0.1:{self.ops}/readyz", timeout=5)
        self.assertIn("waiting for a tunnel session: ", raised.exception.read().decode())

    def test_by_another_authority(self) -> None:
        Authority.create(self.directory / "other").issue("shop", directory=self.pki)
        self.start_edge()
        self.assertRefused(
            ("CN=shop", "unknown ca"), ("certificate not accepted: unable to get local issuer certificate",)
        )

    def test_of_no_node(self) -> None:
        self.authority.issue("system:admin", directory=self.pki, name="shop")
        self.start_edge()
        self.assertRefused(
            ("CN=system:admin", "no node's certificate"), ("subject 'CN=system:admin', issuer 'CN=",)
        )

    def test_denied(self) -> None:
        self.denied.write_text("name shop\n")
        self.start_edge()
        self.assertRefused(
            ("CN=shop", "certificate of shop is denied"), ("subject 'CN=shop', issuer 'CN=", "denied")
        )
