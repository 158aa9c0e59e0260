from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from superedge.dns.resolvconf import parse_nameservers

FILE = """# by DHCP
search example.org
nameserver 192.0.2.53
nameserver\t2001:DB8:0::53  trailing
 nameserver 192.0.2.54
nameserver fe80::1%eth0
nameserver resolver.example
nameserver
nameserver 192.0.2.53
options ndots:5
"""


class NameserverTests(SynchronousTestCase):
    def test_a_file(self) -> None:
        found = [str(each) for each in parse_nameservers(FILE)]
        self.assertEqual(found, ["192.0.2.53:53", "[2001:db8::53]:53", "192.0.2.54:53"])
