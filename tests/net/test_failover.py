"""Several servers, the first of which says nothing."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.addresses import TCPAddress
from superedge.net.errors import ConnectError
from superedge.net.failover import connect_to_any
from superedge.net.servers import Servers


class FailoverTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.first, self.second = self.addresses = [TCPAddress(f"10.0.0.{n}", 6443) for n in (1, 2)]
        self.servers = Servers(self.addresses, False, penalty=10.0)
        self.tries: list[tuple[TCPAddress, Deferred[str]]] = []
        self.told: list[TCPAddress] = []

    def connect(self, address: TCPAddress) -> Deferred[str]:
        attempt: Deferred[str] = Deferred()
        self.tries.append((address, attempt))
        return attempt

    def begin(self) -> Deferred[str]:
        return connect_to_any(
            self.clock, self.servers, self.connect, 1.0, lambda address, _: self.told.append(address)
        )

    def test_the_next_is_tried_beside_a_silent_one(self) -> None:
        reached = self.begin()
        self.clock.advance(0.9)
        self.assertEqual([address for address, _ in self.tries], [self.first])
        self.clock.advance(0.2)
        self.assertEqual([address for address, _ in self.tries], self.addresses)
        self.tries[1][1].callback("second")
        self.assertEqual(self.successResultOf(reached), "second")
        self.assertTrue(self.tries[0][1].called, "cancelled")
        self.assertEqual(self.told, [self.first])
        self.assertEqual(self.servers.order(self.clock.seconds()), [self.second, self.first])

    def test_a_slow_one_that_wins_stays_first(self) -> None:
        reached = self.begin()
        self.clock.advance(1.5)
        self.tries[0][1].callback("first")
        self.assertEqual(self.successResultOf(reached), "first")
        self.assertEqual(self.servers.order(self.clock.seconds()), self.addresses)

    def test_a_caller_that_gives_up_has_the_silent_one_tried_last(self) -> None:
        reached = self.begin()
        self.clock.advance(1.0)
        self.clock.advance(1.0)  # the second has had its share, too, and may be the one that works
        reached.cancel()
        self.failureResultOf(reached, CancelledError)
        self.assertEqual(self.servers.order(self.clock.seconds()), [self.second, self.first])

    def test_one_that_fails_is_not_waited_for(self) -> None:
        reached = self.begin()
        self.tries[0][1].errback(ConnectError("no"))
        self.assertEqual(len(self.tries), 2)
        self.tries[1][1].errback(ConnectError("neither"))
        self.assertIn("neither", str(self.failureResultOf(reached, ConnectError).value))
        self.assertEqual(self.told, self.addresses)
