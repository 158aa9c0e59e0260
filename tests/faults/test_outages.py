"""Every kind of outage, with the default timing: what the first answer from the cache takes, and later ones.

The times are printed, not asserted: `tests.liteapiserver.upstream.test_health` asserts the logic on a clock.
"""

from __future__ import annotations

import os
import socket
import statistics
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHostnameResolver, IHostResolution, IResolutionReceiver
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from superedge.reactor.resolver import SharedResolver
from superedge.tls.authority import Authority
from superedge.tls.contexts import ServerContextSource
from superedge.web.heads import Headers
from tests.liteapiserver.cache.driver import list_of, pod
from tests.liteapiserver.test_proxying import PODS
from tests.liteapiserver.world import JSON, Greeter, Response, Seen, Silent, World, listener, reactor, until

HTML: Headers = [(b"Content-Type", b"text/html")]
LATER = 30
TRIES = 5


def silent(_seen: Seen) -> None:
    """A black hole for one request."""


@implementer(IHostnameResolver)
class Names:
    """Gives the name of the cloud its address, says no, or nothing."""

    answers = "yes"

    def __init__(self) -> None:
        self._waiting: list[IResolutionReceiver] = []

    def resolveHostName(
        self, resolutionReceiver: IResolutionReceiver, hostName: str, *rest: Any
    ) -> IHostResolution:
        if self.answers == "yes":
            resolutionReceiver.addressResolved(IPv4Address("TCP", "127.0.0.1", 0))
        if self.answers == "nothing":
            self._waiting.append(resolutionReceiver)
        else:
            resolutionReceiver.resolutionComplete()
        return cast(IHostResolution, None)

    def end(self) -> None:
        """End the lookups that got nothing."""
        for receiver in self._waiting:
            receiver.resolutionComplete()


class OutageTests(TestCase):
    """One kind of outage each."""

    timeout = 60
    if os.environ.get("SUPEREDGE_CLUSTER_TESTS") != "1":
        skip = "set SUPEREDGE_CLUSTER_TESTS=1 to wait for outages to be noticed"

    async def setUp(self) -> None:  # type: ignore[override]
        self.names = Names()
        self.addCleanup(self.names.end)
        before = reactor.nameResolver
        reactor.installNameResolver(SharedResolver(reactor, cast(IHostnameResolver, self.names)))
        self.addCleanup(reactor.installNameResolver, before)
        self.world = World(Path(self.mktemp()), timing={}, host="cloud.example")
        self.upstream = self.world.upstream
        self.addCleanup(lambda: Deferred.fromCoroutine(self.world.stop()))
        await self.world.start()
        self.upstream.serve(PODS.encode(), list_of([pod("a", 3)], 20))
        await self.world.get(PODS)

    async def measure(self, begin: Callable[[], Awaitable[None]]) -> None:
        """What clients wait for."""
        await begin()
        started = reactor.seconds()
        for _ in range(TRIES):  # an answer that stops half-way is asked for again
            answer = await self.world.get(PODS)
            if answer.heads and self.from_cache(answer):
                break
        first = reactor.seconds() - started
        self.assertTrue(self.from_cache(answer))
        self.assertIn(b'"a"', answer.body)
        await until(lambda: self.world.state == "offline", "offline", 20)
        connection = await self.world.connect(self.world.node)
        later = []
        for _ in range(LATER):
            started = reactor.seconds()
            answer = await self.world.ask("GET", PODS, connection=connection)
            later.append(reactor.seconds() - started)
            self.assertTrue(self.from_cache(answer))
            await until(lambda: connection.usable)
        sys.stdout.write(
            f"\n    {self.id().rpartition('.test_')[2]:32} first {first:5.2f} s, "
            f"later {statistics.median(later) * 1000:5.2f} ms "
        )

    def from_cache(self, answer: Response) -> bool:
        return answer.header(b"warning").startswith(b"110")

    async def replace(self, factory: Any = None, tls: ServerContextSource | None = None) -> None:
        """Something else listens at the address."""
        self.upstream.stop()
        await self.upstream.start(factory, tls)

    def everything(self, answer: Callable[[Seen], None]) -> None:
        for path in (PODS.encode(), b"/readyz"):
            self.upstream.answers[path] = answer

    async def answer_all(self, status: int, body: bytes, headers: Headers) -> None:
        self.everything(lambda seen: seen.request.respond(status, list(headers), body))

    async def test_connections_refused(self) -> None:
        async def begin() -> None:
            self.upstream.stop()

        await self.measure(begin)

    async def test_syns_unanswered(self) -> None:
        async def begin() -> None:
            self.upstream.stop()
            full = socket.create_server(("127.0.0.1", self.upstream.number), backlog=0)
            self.addCleanup(full.close)
            for _ in range(4):  # the kernel takes no more than its queue holds
                waiting = socket.socket()
                waiting.setblocking(False)
                waiting.connect_ex(("127.0.0.1", self.upstream.number))
                self.addCleanup(waiting.close)

        await self.measure(begin)

    async def test_requests_swallowed(self) -> None:
        async def begin() -> None:
            self.everything(silent)

        await self.measure(begin)

    async def test_boot_into_a_black_hole(self) -> None:
        async def begin() -> None:
            await self.world.stop_lite()
            await self.replace(listener(Silent))
            await self.world.start_lite()

        await self.measure(begin)

    async def test_tls_hello_swallowed(self) -> None:
        await self.measure(lambda: self.replace(listener(Silent)))

    async def test_answer_swallowed_half_way(self) -> None:
        def half(seen: Seen) -> None:
            seen.request.start(200, b"OK", [*JSON, (b"Content-Length", b"1000")], True)
            seen.request.write([b'{"kind":"PodList",'])
            seen.request.flush()

        async def begin() -> None:
            self.everything(silent)
            self.upstream.answers[PODS.encode()] = half

        await self.measure(begin)

    async def test_cut_before_an_answer(self) -> None:
        async def begin() -> None:
            self.everything(lambda seen: seen.request.transport.abortConnection())

        await self.measure(begin)

    async def test_garbage_instead_of_tls(self) -> None:
        await self.measure(lambda: self.replace(listener(Greeter)))

    async def test_tls_interception(self) -> None:
        stranger = Authority.create(self.world.directory / "other", "stranger")
        pair = stranger.issue("server", ips=["127.0.0.1"], directory=self.world.directory, name="stranger")
        await self.measure(lambda: self.replace(None, ServerContextSource(pair.certificate, pair.key)))

    async def test_load_balancer_502(self) -> None:
        await self.measure(lambda: self.answer_all(502, b"<html>bad gateway</html>", HTML))

    async def test_load_balancer_503(self) -> None:
        await self.measure(lambda: self.answer_all(503, b"no server", [(b"Content-Type", b"text/plain")]))

    async def test_captive_portal(self) -> None:
        await self.measure(lambda: self.answer_all(200, b"<html>log in</html>", HTML))

    async def test_name_without_address(self) -> None:
        async def begin() -> None:
            self.names.answers = "no"
            self.upstream.stop()

        await self.measure(begin)

    async def test_name_server_silent(self) -> None:
        async def begin() -> None:
            self.names.answers = "nothing"
            self.upstream.stop()

        await self.measure(begin)
