from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHostnameResolver, IHostResolution, IResolutionReceiver
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from superedge.interfaces import IReactor
from superedge.net.errors import ResolveError
from superedge.net.resolve import resolve
from superedge.reactor import resolver
from superedge.reactor.resolver import GIVE_UP_AFTER, MAX_CACHED, STALE_AFTER, SharedResolver, system_resolver


@implementer(IHostnameResolver)
class InnerResolver:
    """Answers when a test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, IResolutionReceiver]] = []

    def resolveHostName(
        self, resolutionReceiver: IResolutionReceiver, hostName: str, *rest: Any
    ) -> IHostResolution:
        self.asked.append((hostName, resolutionReceiver))
        return cast(IHostResolution, None)

    def answer(self, *addresses: str) -> None:
        _, receiver = self.asked.pop(0)
        for address in addresses:
            receiver.addressResolved(IPv4Address("TCP", address, 0))
        receiver.resolutionComplete()


class _Reactor(Clock):
    nameResolver: IHostnameResolver


class ResolverTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = _Reactor()
        self.inner = InnerResolver()
        reactor = cast(IReactor, self.clock)
        self.clock.nameResolver = SharedResolver(reactor, self.inner)

    def ask(self, name: str = "cloud.example") -> Deferred[Sequence[str]]:
        return Deferred.fromCoroutine(resolve(cast(IReactor, self.clock), name))

    def test_concurrent_lookups_are_one(self) -> None:
        answers = [self.ask() for _ in range(200)]
        self.assertEqual(len(self.inner.asked), 1)
        self.inner.answer("192.0.2.1", "192.0.2.2")
        for answer in answers:
            self.assertEqual(self.successResultOf(answer), ["192.0.2.1", "192.0.2.2"])
        self.ask()
        self.assertEqual(len(self.inner.asked), 1)

    def test_other_names_are_other_lookups(self) -> None:
        self.ask("one.example")
        self.ask("other.example")
        self.assertEqual([name for name, _ in self.inner.asked], ["one.example", "other.example"])

    def test_a_name_that_never_had_an_address(self) -> None:
        answer = self.ask()
        self.inner.answer()
        self.failureResultOf(answer, ResolveError)

    def test_a_name_server_that_now_denies_the_name(self) -> None:
        self.ask()
        self.inner.answer("192.0.2.1")
        answer = self.ask()
        self.inner.answer()
        self.assertEqual(self.successResultOf(answer), ["192.0.2.1"])

    def test_a_name_server_that_is_now_silent(self) -> None:
        self.ask()
        self.inner.answer("192.0.2.1")
        answer = self.ask()
        self.assertNoResult(answer)
        self.clock.advance(STALE_AFTER)
        self.assertEqual(self.successResultOf(answer), ["192.0.2.1"])
        self.assertEqual(self.successResultOf(self.ask()), ["192.0.2.1"])  # at once, from now on
        self.assertEqual(len(self.inner.asked), 1)
        self.inner.answer("192.0.2.9")
        answer = self.ask()
        self.inner.answer("192.0.2.9")
        self.assertEqual(self.successResultOf(answer), ["192.0.2.9"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_lookup_that_never_ends(self) -> None:
        answer = self.ask()
        self.clock.advance(GIVE_UP_AFTER)
        self.failureResultOf(answer, ResolveError)
        answer = self.ask()
        self.inner.answer("192.0.2.1")  # too late
        self.assertNoResult(answer)
        self.inner.answer("192.0.2.2")
        self.assertEqual(self.successResultOf(answer), ["192.0.2.2"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_is_kept_is_bounded(self) -> None:
        for number in range(MAX_CACHED + 1):
            self.ask(f"{number}.example")
            self.inner.answer("192.0.2.1")
        first = self.ask("0.example")
        self.inner.answer()
        self.failureResultOf(first, ResolveError)


class SystemResolverTests(TestCase):
    timeout = 10.0

    def test_too_many_open_files(self) -> Deferred[Any]:
        """getaddrinfo(3) raises a bare OSError then: the lookup ends, and the next one may succeed."""

        def exhausted(*_arguments: object) -> list[object]:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        self.patch(resolver, "getaddrinfo", exhausted)
        reactor = _WithResolver()
        answer = Deferred.fromCoroutine(resolve(cast(IReactor, reactor), "cloud.example"))
        return self.assertFailure(answer, ResolveError)

    async def test_names_without_an_answer_leave_threads_to_others(self) -> None:
        answering = threading.Event()
        self.addCleanup(answering.set)
        self.patch(resolver, "getaddrinfo", lambda *_: answering.wait() and [])
        names = cast(IReactor, _WithResolver())
        asked = [Deferred.fromCoroutine(resolve(names, f"{number}.example")) for number in range(40)]
        self.assertEqual(await deferToThread(lambda: "done"), "done")
        answering.set()
        for answer in asked:
            await self.assertFailure(answer, ResolveError)


class _WithResolver:
    """The reactor with another resolver."""

    def __init__(self) -> None:
        self.nameResolver = SharedResolver(cast(IReactor, self), system_resolver(cast(IReactor, self)))

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)
