"""Addresses round-trip; what is none says so."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.addresses import TCPAddress, UnixAddress, parse_address


class AddressTests(SynchronousTestCase):
    def test_round_trip(self) -> None:
        for text, expected in (
            ("127.0.0.1:80", TCPAddress("127.0.0.1", 80)),
            ("edge-1.example:10250", TCPAddress("edge-1.example", 10250)),
            ("[::1]:443", TCPAddress("::1", 443)),
            ("unix:/run/x.sock", UnixAddress("/run/x.sock")),
        ):
            self.assertEqual(parse_address(text), expected)
            self.assertEqual(str(parse_address(text)), text)

    def test_default_port(self) -> None:
        self.assertEqual(parse_address("cloud.example", 9000), TCPAddress("cloud.example", 9000))
        self.assertEqual(parse_address("[::1]", 9000), TCPAddress("::1", 9000))

    def test_refused(self) -> None:
        for text in (
            "",
            "80",
            "host",
            ":80",
            "host:",
            "host:x",
            "host:65536",
            "::1:80",
            "[::1",
            "[::1]x",
            "[host]:1",
            "unix:",
            "unix:relative",
            "host:٣",
        ):
            error = self.assertRaises(ValueError, parse_address, text)
            self.assertIn("is not an address", str(error))

    @given(st.text(max_size=30))
    def test_any_text_parses_or_is_refused_with_a_sentence(self, text: str) -> None:
        try:
            address = parse_address(text)
        except ValueError as problem:
            self.assertIn("is not an address", str(problem))
        else:
            self.assertEqual(parse_address(str(address)), address)

    def test_loopback(self) -> None:
        self.assertTrue(TCPAddress("127.3.0.1", 1).is_loopback)
        self.assertTrue(TCPAddress("localhost", 1).is_loopback)
        self.assertFalse(TCPAddress("0.0.0.0", 1).is_loopback)
        self.assertFalse(TCPAddress("cloud.example", 1).is_loopback)
