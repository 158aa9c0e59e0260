from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from superedge.liteapiserver.access.issuer import Issuer
from superedge.liteapiserver.upstream.issuerkeys import REFUSED, RETRY, IssuerKeys
from superedge.net.errors import ConnectError
from superedge.web.heads import ResponseHead


class Connection:
    """Answers each request with a status and a body."""

    def __init__(self, status: int, body: bytes) -> None:
        self._status, self._body = status, body

    def request(self, _sent: bytes, _head: bool, _ends: bool, receiver: Any) -> None:
        receiver.response(ResponseHead(self._status, b"", b"", True, True))
        receiver.data([self._body])
        receiver.complete([])


class FakePool:
    def __init__(self, status: int = 0, body: bytes = b"") -> None:
        self.status, self.body = status, body
        self.asked = 0

    def connect(self) -> Deferred[Any]:
        self.asked += 1
        if not self.status:
            return fail(ConnectError("api.example has no address"))
        return succeed(Connection(self.status, self.body))


class IssuerKeysTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1.0)
        self.logged: list[LogEvent] = []
        observer = cast(ILogObserver, self.logged.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def watch(self, *pools: FakePool) -> IssuerKeys:
        issuer = Issuer([], lambda *_: None, self.clock.seconds, lambda: None)
        watch = IssuerKeys(cast(Any, self.clock), issuer, b"api", lambda: cast(Any, pools))
        watch.poll()
        return watch

    def warnings(self) -> list[str]:
        return [event["problems"] for event in self.logged if event["log_level"].name == "warn"]

    def test_a_cloud_that_is_not_there_says_nothing_of_the_keys(self) -> None:
        pool = FakePool()
        watch = self.watch(pool)
        self.clock.advance(RETRY)
        watch.poll()
        self.assertEqual((pool.asked, self.warnings()), (2, []))

    def test_nor_does_one_that_is_lost_meanwhile(self) -> None:
        self.watch(FakePool(403), FakePool())
        self.assertEqual(self.warnings(), [])

    def test_keys_that_nobody_may_read(self) -> None:
        pool = FakePool(403)
        watch = self.watch(pool, FakePool(401))
        self.clock.advance(REFUSED - 1)
        watch.poll()
        self.assertEqual((pool.asked, len(self.warnings())), (1, 1))
        self.clock.advance(1)
        watch.poll()
        self.assertEqual((pool.asked, len(self.warnings())), (2, 1))

    def test_what_is_no_key_is_told(self) -> None:
        self.watch(FakePool(200, b"<html>"))
        self.assertEqual(len(self.warnings()), 1)
