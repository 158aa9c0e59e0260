"""The allow list: what it names, and that nothing else passes."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.addresses import TCPAddress, parse_address
from superedge.tunnel.allow import AllowList


def target(text: str) -> TCPAddress:
    address = parse_address(text)
    assert isinstance(address, TCPAddress)
    return address


class AllowListTests(SynchronousTestCase):
    def addresses(self, allow: AllowList, *texts: str) -> list[bool]:
        return [allow.allows_address(target(text)) for text in texts]

    def test_default_is_the_kubelet_alone(self) -> None:
        allow = AllowList([], ["192.0.2.7", "2001:db8::7"])
        self.assertEqual(
            self.addresses(
                allow,
                "127.0.0.1:10250",
                "127.1.2.3:10250",
                "[::1]:10250",
                "192.0.2.7:10250",
                "[2001:db8::7]:10250",
            ),
            [True] * 5,
        )
        self.assertEqual(
            self.addresses(allow, "127.0.0.1:22", "192.0.2.8:10250", "[2001:db8::8]:10250", "0.0.0.0:10250"),
            [False] * 4,
        )
        self.assertTrue(allow.allows_name(target("localhost:10250")))
        self.assertFalse(allow.allows_name(target("localhost:22")))
        self.assertFalse(allow.allows_name(target("localhost.evil.example:10250")))

    def test_rules_replace_the_default(self) -> None:
        allow = AllowList(["127.0.0.1:22"], ["192.0.2.7"])
        self.assertEqual(
            self.addresses(allow, "127.0.0.1:22", "127.0.0.1:10250", "192.0.2.7:10250"), [True, False, False]
        )

    def test_networks_and_any_port(self) -> None:
        allow = AllowList(["10.64.3.0/24:*", "[2001:db8::/32]:443"])
        self.assertEqual(
            self.addresses(
                allow,
                "10.64.3.9:1",
                "10.64.4.9:1",
                "[2001:db8:1::1]:443",
                "[2001:db8:1::1]:80",
                "[2001:db9::]:443",
            ),
            [True, False, True, False, False],
        )

    def test_an_ipv4_address_written_as_ipv6_is_the_ipv4_address(self) -> None:
        allow = AllowList(["10.0.0.0/8:80"])
        self.assertEqual(self.addresses(allow, "[::ffff:10.1.1.1]:80", "[::ffff:11.1.1.1]:80"), [True, False])

    def test_names(self) -> None:
        allow = AllowList(["Plc-*.factory.example:502", "registry:*"])
        for text, allowed in (
            ("plc-7.factory.example:502", True),
            ("PLC-7.factory.EXAMPLE:502", True),
            ("plc-7.factory.example:503", False),
            ("x.plc-7.factory.example.evil:502", False),
            ("registry:5000", True),
            ("registry2:5000", False),
        ):
            self.assertEqual(allow.allows_name(target(text)), allowed, text)

    def test_rules_that_cannot_be_read(self) -> None:
        for rule in (
            "",
            "kubelet",
            ":22",
            "10.0.0.1:",
            "10.0.0.1:0",
            "10.0.0.1:65536",
            "a:-1",
            "10.0.0.0/33:1",
            "10.0.0:1",
            "10.64.3.7/24:1",
            "[::g]:1",
        ):
            problem = self.assertRaises(ValueError, AllowList, [rule])
            self.assertIn(repr(rule), str(problem))

    @given(
        st.integers(0, 32).flatmap(
            lambda bits: st.tuples(st.ip_addresses(v=4), st.just(bits)).map(
                lambda pair: IPv4Network(f"{pair[0]}/{pair[1]}", strict=False)
            )
        ),
        st.ip_addresses(v=4),
        st.integers(1, 65535),
        st.integers(1, 65535),
    )
    def test_exactly_the_network_and_port(
        self, network: IPv4Network, address: IPv4Address, port: int, other: int
    ) -> None:
        allow = AllowList([f"{network}:{port}"])
        self.assertEqual(allow.allows_address(TCPAddress(str(address), port)), address in network)
        inside = TCPAddress(str(network.network_address), other)
        self.assertEqual(allow.allows_address(inside), other == port)
