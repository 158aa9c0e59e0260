"""Messages about interfaces, byte by byte; the numbers are of a little-endian machine."""

from __future__ import annotations

import struct
import sys
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.net import rtnetlink
from superedge.net.rtnetlink import Message


def answer(kind: int, body: bytes, flags: int = 0) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body


class MessageTests(SynchronousTestCase):
    if sys.byteorder != "little":
        skip = "the bytes are those of a little-endian machine"

    def test_requests(self) -> None:
        link = "00000000 00000000 00000000 00000000"
        of_seven = "00000000 07000000 00000000 00000000"
        for request, expected in (
            (
                rtnetlink.new_dummy("dns0"),
                f"3c000000 1000 0506 01000000 00000000 {link} 0900 0300 646e7330 00 000000"
                " 1000 1200 0900 0100 64756d6d79 000000",
            ),
            (
                rtnetlink.set_up(7),
                "20000000 1000 0500 01000000 00000000 00000000 07000000 01000000 01000000",
            ),
            (rtnetlink.get_link("lo"), f"28000000 1200 0100 01000000 00000000 {link} 0700 0300 6c6f00 00"),
            (rtnetlink.del_link(7), f"20000000 1100 0500 01000000 00000000 {of_seven}"),
            (
                rtnetlink.new_address(7, ip_address("169.254.20.10")),
                "28000000 1400 0506 01000000 00000000 02200000 07000000"
                " 0800 0200 a9fe140a 0800 0100 a9fe140a",
            ),
            (
                rtnetlink.del_address(7, ip_address("fd00::a")),
                "48000000 1500 0500 01000000 00000000 0a800000 07000000"
                f" 1400 0200 fd00{'0' * 27}a 1400 0100 fd00{'0' * 27}a 0800 0800 02000000",
            ),
            (rtnetlink.get_addresses(), "18000000 1600 0103 01000000 00000000 00000000 00000000"),
        ):
            self.assertEqual(request.hex(), expected.replace(" ", ""))

    def test_answers(self) -> None:
        link = struct.pack("=BxHiII", 0, 1, 9, 0, 0) + bytes.fromhex("10001280 09000100 64756d6d79 000000")
        address = struct.pack("=BBBBI", 2, 32, 0, 0, 9) + bytes.fromhex("08000200 a9fe140a")
        data = answer(16, link) + answer(20, address, 2) + answer(2, struct.pack("=i", -17)) + answer(3, b"")
        found = list(rtnetlink.read_messages(data))
        self.assertEqual(
            [(each.kind, each.more) for each in found], [(16, False), (20, True), (2, False), (3, False)]
        )
        self.assertEqual(rtnetlink.read_link(found[0]), (9, "dummy"))
        self.assertEqual(rtnetlink.read_address(found[1]), (9, ip_address("169.254.20.10")))
        self.assertEqual(rtnetlink.error_number(found[2]), 17)
        self.assertEqual(rtnetlink.read_link(Message(16, False, link[:16])), (9, ""))

    @given(st.binary(max_size=100))
    def test_any_bytes_end(self, data: bytes) -> None:
        list(rtnetlink.read_messages(data))
        rtnetlink.read_link(Message(16, False, bytes(16) + data))
