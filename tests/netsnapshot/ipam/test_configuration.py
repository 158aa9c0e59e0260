"""The network configuration: what each key does, and what a person reads about a wrong one."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from superedge.netsnapshot.ipam.addresses import Range, next_free
from superedge.netsnapshot.ipam.configuration import (
    Network,
    arguments,
    decode_configuration,
    range_sets,
    requested_addresses,
    resolv_conf,
    routes_of,
    valid_attachments,
    version_of,
)
from superedge.netsnapshot.ipam.errors import IPAMError


def document(**ipam: Any) -> dict[str, Any]:
    return {"cniVersion": "1.1.0", "name": "edge", "ipam": {"type": "superedge-ipam", **ipam}}


def one_range(**keys: Any) -> dict[str, Any]:
    return document(ranges=[[{"subnet": "10.1.0.0/24", **keys}]])


class ConfigurationCase(SynchronousTestCase):
    def fault(self, code: int, text: str, function: Any, *arguments: Any) -> None:
        """That a call reports this."""
        problem = self.assertRaises(IPAMError, function, *arguments)
        self.assertEqual((problem.code, str(problem)), (code, text))


class RangeTests(ConfigurationCase):
    def sets(self, **ipam: Any) -> list[list[str]]:
        return [list(map(str, each)) for each in range_sets(document(**ipam))]

    def test_defaults_are_those_of_host_local(self) -> None:
        sets = self.sets(ranges=[[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00:1:0::/120"}]])
        self.assertEqual(sets, [["10.1.0.1-10.1.0.254"], ["fd00:1::1-fd00:1::ff"]])
        (found,) = range_sets(one_range())[0]
        self.assertEqual((found.gateway, found.length), ("10.1.0.1", 24))

    def test_a_range_may_stand_in_the_ipam_section_and_in_the_runtime_configuration(self) -> None:
        both = document(subnet="10.1.0.0/24", rangeStart="10.1.0.9", ranges=[[{"subnet": "fd00::/64"}]])
        both["runtimeConfig"] = {"ipRanges": [[{"subnet": "10.9.0.0/29"}]]}
        found = [[str(each) for each in one] for one in range_sets(both)]
        self.assertEqual(found[:2], [["10.9.0.1-10.9.0.6"], ["10.1.0.9-10.1.0.254"]])
        self.assertEqual(found[2][0][:8], "fd00::1-")

    def free(self, ranges: list[Range]) -> list[str]:
        """Every address that is allocated before there is none."""
        found: list[str] = []
        while address := next_free(ranges, set(found), ""):
            found.append(address)
        return found

    def test_gateway_and_exclusions_are_not_allocated(self) -> None:
        configuration = document(
            exclude=["10.1.0.4/31"],
            ranges=[
                [{"subnet": "10.1.0.0/28", "gateway": "10.1.0.3", "exclude": ["10.1.0.8/29", "10.1.0.1"]}]
            ],
        )
        (ranges,) = range_sets(configuration)
        self.assertEqual(self.free(ranges), ["10.1.0.2", "10.1.0.6", "10.1.0.7"])

    def test_large_exclusions_are_passed_over_at_once(self) -> None:
        (ranges,) = range_sets(document(exclude=["fd00::/65"], ranges=[[{"subnet": "fd00::/64"}]]))
        self.assertEqual(next_free(ranges, set(), ""), "fd00::8000:0:0:0")

    def test_allocation_goes_on_behind_the_latest_address_and_comes_round(self) -> None:
        configuration = document(ranges=[[{"subnet": "10.1.0.0/30"}, {"subnet": "10.2.0.0/30"}]])
        (ranges,) = range_sets(configuration)
        self.assertEqual(next_free(ranges, set(), "10.1.0.2"), "10.2.0.2")
        self.assertEqual(next_free(ranges, set(), "10.2.0.2"), "10.1.0.2")
        self.assertEqual(next_free(ranges, {"10.2.0.2"}, "10.1.0.2"), "10.1.0.2")
        self.assertEqual(next_free(ranges, {"10.1.0.2", "10.2.0.2"}, "10.1.0.2"), "")
        self.assertEqual(next_free(ranges, set(), "192.0.2.1"), "10.1.0.2")

    def test_faults_are_one_sentence_with_the_key(self) -> None:
        cidr = "is not a network such as 10.1.0.0/16 or fd00:1::/64"
        for ipam, text in (
            ({}, "ipam.ranges: no range is given"),
            ({"ranges": {}}, "ipam.ranges: must be a list"),
            ({"ranges": [{}]}, "ipam.ranges[0]: must be a list of one or more ranges"),
            ({"ranges": [[]]}, "ipam.ranges[0]: must be a list of one or more ranges"),
            ({"ranges": [["10.1.0.0/24"]]}, "ipam.ranges[0][0]: must be an object with a subnet"),
            ({"ranges": [[{}]]}, f"ipam.ranges[0][0].subnet: None {cidr}"),
            ({"ranges": [[{"subnet": "10.1.0.0"}]]}, f"ipam.ranges[0][0].subnet: '10.1.0.0' {cidr}"),
            ({"subnet": "10.1.0.0/33"}, f"ipam.subnet: '10.1.0.0/33' {cidr}"),
            ({"subnet": "10.1.0.0/\u0662"}, f"ipam.subnet: '10.1.0.0/\u0662' {cidr}"),
            ({"subnet": "10.1.0.0/31"}, "ipam.subnet: 10.1.0.0/31 is too small to allocate from"),
            (
                {"subnet": "10.1.0.7/24"},
                "ipam.subnet: 10.1.0.7/24 has host bits set; the network is 10.1.0.0/24",
            ),
            (
                {"subnet": "10.1.0.0/24", "rangeStart": "10.2.0.1"},
                "ipam.rangeStart: 10.2.0.1 is not in 10.1.0.0/24",
            ),
            (
                {"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.8"},
                "ipam.rangeEnd: 10.1.0.8 is before rangeStart 10.1.0.9",
            ),
            (
                {"subnet": "10.1.0.0/29", "rangeStart": "10.1.0.7"},
                "ipam.rangeEnd: 10.1.0.6 is before rangeStart 10.1.0.7",
            ),
            ({"subnet": "10.1.0.0/24", "gateway": "fd00::1"}, "ipam.gateway: fd00::1 is not in 10.1.0.0/24"),
            ({"subnet": "10.1.0.0/24", "gateway": 1}, "ipam.gateway: 1 is not an IP address"),
            ({"subnet": "10.1.0.0/24", "exclude": ["x"]}, "ipam.exclude[0]: 'x' is not an IP address"),
            (
                {"ranges": [[{"subnet": "10.1.0.0/24"}, {"subnet": "fd00::/64"}]]},
                "ipam.ranges[0]: has ranges of IPv4 and of IPv6, which belong into two sets",
            ),
            (
                {"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.1.0.128/25"}]]},
                "ipam.ranges[1]: range 10.1.0.129-10.1.0.254 overlaps with 10.1.0.1-10.1.0.254",
            ),
        ):
            self.fault(7, text, range_sets, document(**ipam))


class OtherKeyTests(ConfigurationCase):
    def test_the_network(self) -> None:
        network = Network(document(dataDir="/x/", reservationTTL=5, keepByName=True))
        self.assertEqual((network.name, network.directory), ("edge", "/x"))
        self.assertEqual((network.ttl, network.keep), (5, True))
        network = Network(document())
        self.assertEqual((network.directory, network.ttl), ("/var/lib/cni/networks", 86400))
        self.assertFalse(network.keep)

    def test_faults_of_the_network(self) -> None:
        for change, text in (
            ({"ipam": None}, "ipam: is missing"),
            ({"ipam": []}, "ipam: must be an object"),
            ({"ipam": {"dataDir": "x"}}, "ipam.dataDir: 'x' is not an absolute path"),
            ({"ipam": {"dataDir": "/a\0b"}}, "ipam.dataDir: '/a\\x00b' is not a path"),
            ({"ipam": {"dataDir": "/\ud800"}}, "ipam.dataDir: '/\\ud800' is not a path"),
            (
                {"ipam": {"reservationTTL": True}},
                "ipam.reservationTTL: True is not a number of seconds, 0 or more",
            ),
            ({"ipam": {"keepByName": "yes"}}, "ipam.keepByName: 'yes' is neither true nor false"),
        ):
            self.fault(7, text, Network, document() | change)
        for name in ("../x", "", None, "a/b", ".", "-a", "\u0663"):
            problem = self.assertRaises(IPAMError, Network, document() | {"name": name})
            self.assertIn(f"name: {name!r} must begin with a letter or digit", str(problem))

    def test_what_is_no_configuration(self) -> None:
        for data in (b"", b"{", b"\xff", b'{"a":1} x', b"{" * 100000, b'{"a":NaN}'):
            problem = self.assertRaises(IPAMError, decode_configuration, data)
            self.assertEqual(problem.code, 6, data[:10])
        self.fault(6, "the network configuration is not a JSON object", decode_configuration, b"[]")
        self.assertEqual(decode_configuration(b' {"a": [1.5, "\\u00fc"]}\n'), {"a": [1.5, "\u00fc"]})

    def test_versions(self) -> None:
        for version in ("0.3.1", "0.4.0", "1.0.0", "1.1.0"):
            self.assertEqual(version_of({"cniVersion": version}), version)
        for found in ({}, {"cniVersion": "0.2.0"}, {"cniVersion": "1.2.0"}, {"cniVersion": None}):
            problem = self.assertRaises(IPAMError, version_of, found)
            self.assertEqual(problem.code, 1)
            self.assertIn("is not one of 0.3.1, 0.4.0, 1.0.0, 1.1.0", str(problem))

    def test_routes(self) -> None:
        routes = [{"dst": "0.0.0.0/0"}, {"dst": "FD00::1/64", "gw": "FD00:0::2", "mtu": 9}]
        routes += [{"dst": "10.0.0.0/8", "gw": ""}, {"dst": "10.0.0.0/8", "gw": None}]
        expected = [{"dst": "0.0.0.0/0"}, {"dst": "fd00::1/64", "gw": "fd00::2", "mtu": 9}]
        expected += [{"dst": "10.0.0.0/8"}] * 2
        self.assertEqual(routes_of(document(routes=routes)), expected)
        self.fault(
            7,
            "ipam.routes[0]: 'x' is not a network such as 10.1.0.0/16 or fd00:1::/64",
            routes_of,
            document(routes=[{"dst": "x"}]),
        )
        self.fault(
            7,
            "ipam.routes[0]: 'x' is not an IP address",
            routes_of,
            document(routes=[{"dst": "::/0", "gw": "x"}]),
        )

    def test_resolv_conf(self) -> None:
        text = "# c\nnameserver 10.0.0.1\nnameserver\n;x y\nsearch a b\ndomain d\noptions ndots:5\nsearch c\n"
        dns = {"nameservers": ["10.0.0.1"], "search": ["a", "b", "c"], "domain": "d", "options": ["ndots:5"]}
        self.assertEqual(resolv_conf(text), dns)

    def test_requested_addresses_come_from_three_places(self) -> None:
        asked = one_range() | {
            "args": {"cni": {"ips": ["10.1.0.8/24", "10.1.0.9"]}},
            "runtimeConfig": {"ips": ["FD00::1/64", "10.1.0.8"]},
        }
        found = requested_addresses(asked, arguments("IP=10.1.0.7;IgnoreUnknown=1"))
        self.assertEqual(found, ["10.1.0.7", "10.1.0.8", "10.1.0.9", "fd00::1"])
        self.fault(4, "CNI_ARGS: IP: 'x' is not an IP address", requested_addresses, one_range(), {"IP": "x"})
        wrong = one_range() | {"runtimeConfig": {"ips": [7]}}
        self.fault(7, "runtimeConfig.ips: 7 is not an IP address", requested_addresses, wrong, {})
        self.fault(4, "CNI_ARGS: 'x' is not KEY=VALUE", arguments, "a=b;x")
        self.fault(4, "CNI_ARGS: 'a=\\x1b[1m' is not KEY=VALUE", arguments, "a=\x1b[1m")

    def test_valid_attachments(self) -> None:
        key = "cni.dev/valid-attachments"
        found = valid_attachments({key: [{"containerID": "a", "ifname": "eth0"}]})
        self.assertEqual(found, {("a", "eth0")})
        self.assertEqual(valid_attachments({key: None}), set())
        self.fault(
            7,
            f"{key}[0]: must be an object with containerID and ifname",
            valid_attachments,
            {key: [{"containerID": "a"}]},
        )
