"""The edge's half over real sockets and TLS: peers that are honest, and peers that are not."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import time
from typing import Any, cast

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from superedge.config.addresses import TCPAddress
from superedge.config.health import EdgeHealthConfig, ProbeConfig
from superedge.errors import SuperEdgeError
from superedge.health import metrics
from superedge.health.edge.links import ALPN, PeerContexts
from superedge.health.edge.service import EdgeHealth
from superedge.health.edge.unitfile import UnitFile
from superedge.health.votes.ballot import Opinion, SignedBallot
from superedge.health.votes.messages import (
    LENGTH,
    Ballots,
    Chain,
    Change,
    Hello,
    Hops,
    Member,
    Message,
    MessageReader,
    Ping,
    Pong,
    Unit,
    encode_message,
)
from superedge.net.endpoints import ClientEndpoint
from superedge.net.errors import ConnectError
from superedge.net.factory import CallableFactory
from superedge.testing.ports import free_port
from superedge.tls.authority import Authority
from superedge.tls.reload import FileWatcher
from tests.health.voters import NODES, Voters, ballot
from tests.kube.contract import ClientContract

NOW = int(time() * 1000)


class Peer(Protocol):
    """Says what a test wants, remembers what it hears."""

    transport: Any

    def __init__(self) -> None:
        self.heard: list[Message] = []
        self.reader = MessageReader(1 << 20)
        self.lost: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.heard += self.reader.feed(data)

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.callback(None)

    def say(self, *messages: Message) -> None:
        self.transport.write(b"".join(map(encode_message, messages)))


class LinkCase(TestCase):
    reactor = ClientContract.reactor

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.voters = Voters(self.directory, "edge-1", "edge-2", "edge-3", "edge-9")
        self.port = free_port()
        self.made: list[EdgeHealth] = []
        self.watchers: dict[str, FileWatcher] = {}
        self.unit = Unit(
            "shop", 10, tuple(Member(f"edge-{n}", f"127.0.0.{n}", self.port, self.port) for n in (1, 2, 3))
        )

    async def tearDown(self) -> None:  # type: ignore[override]
        for each in self.made:
            done = each.stopService()
            if done is not None:
                await done
        await deferLater(self.reactor, 0.05)

    def start(self, name: str) -> EdgeHealth:
        """A node that knows its unit, at 127.0.0.NUMBER."""
        state = self.directory / f"state-{name}"
        UnitFile(state).write(self.unit)
        config = EdgeHealthConfig(
            listen=f"127.0.0.{name[-1]}:{self.port}",
            certificate=self.directory / f"{name}.crt",
            key=self.directory / f"{name}.key",
            ca=[self.voters.authority.path],
            period=0.3,
            state=state,
            probes=[ProbeConfig(kind="tcp", port=self.port, timeout=0.5)],
        )
        watcher = self.watchers[name] = FileWatcher(self.reactor)
        made = EdgeHealth(self.reactor, config, watcher, NODES)
        made.startService()
        self.made.append(made)
        return made

    async def until(self, condition: Callable[[], object], what: str) -> None:
        end = self.reactor.seconds() + 60
        while not condition():
            self.assertLess(self.reactor.seconds(), end, what)
            await deferLater(self.reactor, 0.02)

    async def dial(self, to: str, by: str, authority: Authority | None = None, alpn: str = ALPN) -> Peer:
        if authority is not None:
            authority.issue(f"system:node:{by}", ["system:nodes"], directory=self.directory, name="foreign")
            certificate = "foreign"
        else:
            certificate = by
        tls = PeerContexts(
            [self.voters.authority.path],
            self.directory / f"{certificate}.crt",
            self.directory / f"{certificate}.key",
            [alpn],
        )
        endpoint = ClientEndpoint(self.reactor, TCPAddress(f"127.0.0.{to[-1]}", self.port), tls, to)
        return cast(Peer, await endpoint.connect(cast(Any, CallableFactory(Peer))))


class HonestTests(LinkCase):
    async def test_ballots_reach_every_peer(self) -> None:
        made = [self.start(f"edge-{n}") for n in (1, 2, 3)]

        def heard() -> bool:
            return all(
                len(each.status()["ballots"]) == 2
                and {row["says"] for said in each.status()["ballots"] for row in said["rows"]} == {"healthy"}
                for each in made
            )

        await self.until(heard, "all hear of all")
        self.assertEqual(sorted(made[0].status()["links"]), ["edge-2", "edge-3"])

    async def test_a_peer_that_is_gone_is_voted_on_at_once(self) -> None:
        one, two = self.start("edge-1"), self.start("edge-2")

        def says(each: EdgeHealth) -> dict[str, str]:
            return {row["peer"]: row["says"] for row in each.status()["own"]["rows"]}

        def told() -> bool:
            rows = [
                row for said in one.status()["ballots"] for row in said["rows"] if said["voter"] == "edge-2"
            ]
            return {row["peer"]: row["says"] for row in rows}.get("edge-3") == "unhealthy"

        await self.until(lambda: says(one).get("edge-3") == "unhealthy", "nobody listens there")
        await self.until(told, "a peer's ballot says it")
        self.assertEqual(says(two)["edge-1"], "healthy")

    async def test_the_cloud_is_told_and_answered(self) -> None:
        one = self.start("edge-1")
        transport = await one.handler.connect(self.reactor, {}, 1.0)
        cloud = Peer()
        transport.protocol = cloud
        cloud.makeConnection(transport)
        transport.resumeProducing()
        cloud.say(Hello(NOW, True, 0), Ping(7, NOW))
        await self.until(lambda: Pong(7) in cloud.heard, "it answers")
        await self.until(lambda: any(isinstance(each, Ballots) for each in cloud.heard), "it votes")
        smaller = Unit("shop", 10, self.unit.members[:2])
        cloud.say(smaller)
        await self.until(lambda: one.status()["members"] == ["edge-1", "edge-2"], "it joins the unit")
        self.assertEqual(UnitFile(self.directory / "state-edge-1").read(), smaller)
        cloud.say(Change((Member("edge-3", "127.0.0.3"),), ("edge-2",)))
        await self.until(lambda: one.status()["members"] == ["edge-1", "edge-3"], "its unit changes")
        self.assertEqual(one.status()["hops"], 0)
        transport.abortConnection()
        await self.until(lambda: one.status()["hops"] > 0, "the way is gone")

    async def test_a_node_that_stops_takes_no_stream_of_the_cloud(self) -> None:
        node = self.start("edge-1")
        self.made.remove(node)
        await maybeDeferred(node.stopService)
        with self.assertRaises(SuperEdgeError):  # the tunnel would wait for its end
            await node.handler.connect(self.reactor, {}, 1.0)

    async def test_voters_are_heard_after_the_cas_changed(self) -> None:
        one, two = self.start("edge-1"), self.start("edge-2")

        def issued() -> list[int]:
            return [said["issued"] for said in one.status()["ballots"] if said["voter"] == "edge-2"]

        await self.until(issued, "it is heard")
        os.utime(self.voters.authority.path, (1, 1))
        self.watchers["edge-1"].check()
        await self.until(lambda: one.status()["links"], "they are linked again")
        before = issued()
        two._exchange.changed()
        await self.until(lambda: issued() > before, "it is heard again")

    async def test_a_certificate_that_is_renewed_and_one_of_another_node(self) -> None:
        one = self.start("edge-1")
        watcher = self.watchers["edge-1"]
        before = one._signer.chain
        self.voters.signer("edge-1")
        watcher.check()
        self.assertNotEqual(one._signer.chain, before)
        renewed = one._signer.chain
        for end in ("crt", "key"):
            source, target = (self.directory / f"{name}.{end}" for name in ("edge-2", "edge-1"))
            target.write_bytes(source.read_bytes())
        watcher.check()
        self.assertEqual(one._signer.chain, renewed)


class HostileTests(LinkCase):
    async def refused(self, peer: Peer) -> None:
        """The link is closed on it."""
        await self.until(lambda: peer.lost.called, "it is turned away")

    async def test_who_is_no_member_gets_no_link(self) -> None:
        self.start("edge-1")
        await self.refused(await self.dial("edge-1", "edge-9"))
        await self.refused(await self.dial("edge-1", "edge-1"))
        await self.refused(await self.dial("edge-1", "edge-2", alpn="other/1"))
        foreign = Authority.create(self.directory / "foreign-ca")
        with contextlib.suppress(ConnectError):  # TLS 1.3 tells it now or at the first byte
            await self.refused(await self.dial("edge-1", "edge-2", authority=foreign))

    async def test_a_peer_has_two_links_and_no_more(self) -> None:
        one = self.start("edge-1")
        first, second = [await self.dial("edge-1", "edge-2") for _ in range(2)]
        for peer in (first, second):
            peer.say(Hello(NOW, False, 16))
        await self.refused(await self.dial("edge-1", "edge-2"))
        self.assertFalse(first.lost.called or second.lost.called)
        self.assertEqual(one.status()["links"], ["edge-2"])

    async def test_what_is_no_protocol_ends_the_link(self) -> None:
        one = self.start("edge-1")
        for data in (
            b"GET / HTTP/1.1\r\n\r\n",
            LENGTH.pack(0),
            LENGTH.pack(1 << 20),
            LENGTH.pack(3) + b"\xff\xff\xff",
            encode_message(Hops(1)),
            encode_message(Hello(NOW, False, 16)) + encode_message(self.unit),
            encode_message(Hello(NOW, False, 16)) + encode_message(Ping(1, NOW)),
            encode_message(Hello(-1, True, 0)),
            encode_message(Hello(2**62, True, 0)),
            encode_message(Hello(253_370_764_800_000, True, 0)),
            encode_message(Hello(NOW, False, 16, 0, 0)),
            encode_message(Hello(NOW, False, 16, 0, 70_000)),
        ):
            peer = await self.dial("edge-1", "edge-2")
            peer.transport.write(data)
            await self.refused(peer)
        self.assertEqual(one.status()["links"], [])
        self.assertEqual(one.status()["members"], ["edge-1", "edge-2", "edge-3"])

    def counted(self, reason: str) -> float:
        return float(metrics.BALLOTS_REFUSED.labels("edge", reason)._value.get())

    def counts(self, reason: str, count: float) -> bool:
        return self.counted(reason) == count

    async def test_lies_are_counted_and_change_nothing(self) -> None:
        one = self.start("edge-1")
        peer = await self.dial("edge-1", "edge-2")
        two, nine = self.voters.signers["edge-2"], self.voters.signers["edge-9"]
        now = int(time() * 1000)
        good = ballot("edge-2", {"edge-1": Opinion.HEALTHY}, issued=now, sequence=5)
        signed = two.sign(good)
        of_another = ballot("edge-3", {"edge-1": Opinion.UNHEALTHY}, issued=now)
        lies: dict[str, SignedBallot] = {
            "replayed": two.sign(ballot("edge-2", issued=now, sequence=4)),
            "identity": two.sign(of_another),
            "signature": SignedBallot(signed.body, bytes(70), signed.key),
            "expired": two.sign(ballot("edge-2", issued=now - 60_000, sequence=6)),
            "future": two.sign(ballot("edge-2", issued=now + 60_000, sequence=6)),
            "foreign": two.sign(ballot("edge-2", unit="mill", issued=now, sequence=6)),
            "malformed": _malformed(two),
            "unknown-certificate": nine.sign(ballot("edge-9", issued=now)),
        }

        before = {reason: self.counted(reason) for reason in lies}
        peer.say(
            Hello(now, False, 16),
            Chain(two.chain),
            Ballots((signed,)),
            *(Ballots((lie,)) for lie in lies.values()),
        )
        for reason in lies:
            await self.until(partial(self.counts, reason, before[reason] + 1), reason)
        peer.say(Chain(nine.chain), Ballots((nine.sign(ballot("edge-9", issued=now)),)))
        await self.until(partial(self.counts, "foreign", before["foreign"] + 2), "a node of another unit")
        held = one.status()["ballots"]
        self.assertEqual([(each["voter"], each["issued"]) for each in held], [("edge-2", now)])

    async def test_a_peer_cannot_make_its_numbers_useless(self) -> None:
        one = self.start("edge-1")
        peer = await self.dial("edge-1", "edge-2")
        peer.say(Hello(NOW, True, 0, 2**53 - 2))
        await self.until(lambda: len(one.status()["links"]) == 1, "it is linked")
        one._voter.vote(0.0)
        self.assertLess(one._voter._sequence, NOW + 3_600_000)

    async def test_numbers_from_when_its_clock_was_ahead_are_gone_on_with(self) -> None:
        one = self.start("edge-1")
        ahead = NOW + 30 * 86_400_000
        peer = await self.dial("edge-1", "edge-2")
        peer.say(Hello(NOW, True, 0, ahead))
        await self.until(lambda: one._voter._sequence > ahead, "its ballots are no replays")

    async def test_a_flood_ends_the_link(self) -> None:
        self.start("edge-1")
        peer = await self.dial("edge-1", "edge-2")
        peer.say(Hello(NOW, False, 16))
        peer.transport.write(encode_message(Hops(3)) * 10_000)
        await self.refused(peer)


def _malformed(signer: Any) -> SignedBallot:
    good = signer.sign(ballot("edge-2", issued=NOW))
    return SignedBallot(b"\x93" + good.body[1:], good.signature, good.key)
