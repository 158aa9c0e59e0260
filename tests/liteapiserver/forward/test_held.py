from __future__ import annotations

from random import Random

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from superedge.kube.request import parse_request
from superedge.liteapiserver.cache.answers import WatchAnswer
from superedge.liteapiserver.forward.held import BOOKMARK_INTERVAL, TIMEOUT, HeldWatches
from superedge.web.server import ServerFactory
from superedge.web.serverrequest import Request
from tests.liteapiserver.cache.driver import PODS, Driver, event, list_of, pod
from tests.web.test_server import Transport

END = b"0\r\n\r\n"


class HeldTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.held = HeldWatches(self.clock, Random(1))
        self.requests: list[Request] = []
        self.transport = Transport()
        factory = ServerFactory(self.requests.append)
        self.connection = factory.buildProtocol(None)
        self.connection.makeConnection(self.transport)
        self.connection.dataReceived(b"GET /api/v1/pods?watch=true HTTP/1.1\r\n\r\n")

    def open(
        self, timeout: float | None = None, bookmarks: bool = False, frames: tuple[bytes, ...] = ()
    ) -> None:
        answer = WatchAnswer([], list(frames), timeout, b"BOOKMARK\n" if bookmarks else None)
        self.held.open(self.requests[0], answer)

    def test_events_at_once_then_silence(self) -> None:
        self.open(frames=(b"one\n", b"two\n"))
        self.assertTrue(self.transport.value().endswith(b"8\r\none\ntwo\n\r\n"))
        self.transport.clear()
        self.clock.advance(TIMEOUT - 1)
        self.assertEqual(self.transport.value(), b"")
        self.assertEqual(len(self.held), 1)
        self.clock.advance(TIMEOUT + 1)
        self.assertEqual(self.transport.value(), END)
        self.assertEqual(len(self.held), 0)

    def test_the_clients_own_timeout(self) -> None:
        self.open(timeout=30)
        self.clock.advance(30)
        self.assertTrue(self.transport.value().endswith(END))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_bookmarks(self) -> None:
        self.open(timeout=BOOKMARK_INTERVAL * 2.5, bookmarks=True)
        self.clock.pump([BOOKMARK_INTERVAL] * 3)
        self.assertEqual(self.transport.value().count(b"BOOKMARK"), 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_bookmark_skips_nothing(self) -> None:
        """Another watch has the cloud again and brings what this one is not told: it goes on from before."""
        driver = Driver()
        driver.feed(PODS, list_of([pod("a", 5)], 9))
        answer = driver.ask(f"{PODS}?watch=true&resourceVersion=9&allowWatchBookmarks=true")
        assert isinstance(answer, WatchAnswer)
        self.held.open(self.requests[0], answer)
        driver.watch(f"{PODS}?resourceVersion=9", event("ADDED", pod("b", 12)))
        self.transport.clear()
        self.clock.advance(BOOKMARK_INTERVAL)
        self.assertIn(b'"BOOKMARK"', self.transport.value())
        self.assertIn(b'"resourceVersion":"9"', self.transport.value())

    def test_the_cloud_is_back(self) -> None:
        self.open()
        self.held.end_all_within(3.0)
        self.clock.advance(3.0)
        self.assertTrue(self.transport.value().endswith(END))
        self.assertEqual(len(self.held), 0)

    def test_the_cloud_is_back_and_its_time_is_up_before(self) -> None:
        self.open(timeout=1.0)
        self.held.end_all_within(1000.0)
        self.clock.advance(1.0)
        self.assertTrue(self.transport.value().endswith(END))

    def test_a_client_that_goes_away(self) -> None:
        self.open(bookmarks=True)
        self.connection.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(len(self.held), 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_watch_that_lost_the_cloud(self) -> None:
        request = self.requests[0]
        request.start(200, b"OK", [], False)
        request.flush()
        info = parse_request(b"GET", b"/api/v1/pods?watch=true&timeoutSeconds=100", b"")
        self.held.adopt(request, info, 40.0)
        self.clock.advance(59)
        self.assertEqual(len(self.held), 1)
        self.clock.advance(1)
        self.assertTrue(self.transport.value().endswith(END))

    def test_stopping(self) -> None:
        self.open()
        self.held.end_all()
        self.assertTrue(self.transport.value().endswith(END))
