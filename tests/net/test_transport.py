"""How addresses read in logs."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from superedge.net.sockets import address_text, twisted_address


class AddressTextTests(SynchronousTestCase):
    def test_addresses_read_as_they_are_configured(self) -> None:
        for sockaddr, text in (
            (("127.0.0.1", 80), "127.0.0.1:80"),
            (("::1", 80, 0, 0), "[::1]:80"),
            ("/run/egress.sock", "unix:/run/egress.sock"),
            ("", "unix:"),
        ):
            self.assertEqual(address_text(twisted_address(sockaddr)), text)
