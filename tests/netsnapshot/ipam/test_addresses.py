"""Addresses as text, beside the C library's own reading of them."""

from __future__ import annotations

from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.netsnapshot.ipam.addresses import canonical

PARTS = st.one_of(
    st.integers(-1, 300).map(str), st.sampled_from(["", "01", "+1", " 1", "1_0", "٣", "0x1", "f"])
)
ALMOST = st.lists(PARTS, min_size=3, max_size=5).map(".".join)
WORDS = st.lists(st.sampled_from(["", "0", "fd00", "1", "FFFF", "12345", "10.0.0.1"]), min_size=2, max_size=9)


class AddressTests(SynchronousTestCase):
    @given(
        st.one_of(ALMOST, WORDS.map(":".join), st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(str))
    )
    @example("-1.0.0.1")
    @settings(max_examples=300)
    def test_as_the_c_library_reads_them(self, text: str) -> None:
        family = AF_INET6 if ":" in text else AF_INET
        try:
            expected = inet_ntop(family, inet_pton(family, text))
        except (OSError, ValueError):
            self.assertRaises(ValueError, canonical, text)
        else:
            is_mapped = expected.startswith("::ffff:") and "." in expected
            self.assertEqual(canonical(text), expected.removeprefix("::ffff:") if is_mapped else expected)
