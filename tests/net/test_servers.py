from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from superedge.config.addresses import TCPAddress
from superedge.net.servers import Servers


class ServersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.addresses = [TCPAddress(f"10.0.0.{number}", 6443) for number in range(3)]

    def test_priority(self) -> None:
        servers = Servers(self.addresses, False, penalty=10.0)
        self.assertEqual(servers.order(0), self.addresses)
        servers.failed(self.addresses[0], 0)
        self.assertEqual(servers.order(1), [self.addresses[1], self.addresses[2], self.addresses[0]])
        self.assertEqual(servers.order(11), self.addresses)

    def test_round_robin(self) -> None:
        servers = Servers(self.addresses, True)
        self.assertEqual([servers.order(0)[0] for _ in range(4)], [*self.addresses, self.addresses[0]])

    def test_a_server_that_came_back(self) -> None:
        servers = Servers(self.addresses, False, penalty=10.0)
        servers.failed(self.addresses[0], 0)
        servers.connected(self.addresses[0])
        self.assertEqual(servers.order(1), self.addresses)
