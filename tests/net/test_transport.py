"""How addresses read in logs."""

from __future__ import annotations

import socket

from twisted.trial.unittest import SynchronousTestCase

from superedge.net.transport import address_text, socket_address


class AddressTextTests(SynchronousTestCase):
    def test_addresses_read_as_they_are_configured(self) -> None:
        for sockaddr, family, text in (
            (("127.0.0.1", 80), socket.AF_INET, "127.0.0.1:80"),
            (("::1", 80, 0, 0), socket.AF_INET6, "[::1]:80"),
            ("/run/egress.sock", socket.AF_UNIX, "unix:/run/egress.sock"),
            ("", socket.AF_UNIX, "unix:"),
        ):
            self.assertEqual(address_text(socket_address(sockaddr, family)), text)
