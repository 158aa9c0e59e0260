"""Checks the peers that this node is a witness of, each at its own time."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from superedge.health.edge.voter import Voter
from superedge.health.votes.ballot import Opinion
from superedge.health.votes.messages import Member
from superedge.reactor.periodic import PeriodicCall
from superedge.reactor.task import in_background

RECHECK = 1.0
"""Seconds after a first failed check until the next."""
JITTER = 0.1
"""Maximum random deviation, as a part of the period."""
AT_ONCE = 32
"""Maximum number of concurrent checks."""
LOOK = 1.0
"""Seconds between two measurements of how late this process's timers are."""

Check = Callable[[Member, float], Coroutine[Deferred[Any], Any, int]]
"""Scores a peer, 0 to 100; the float multiplies timeouts."""

_log = Logger()


class Prober(Service):
    """Checks peers periodically. ``changed`` is called after the voter's opinion of a peer changed."""

    name = "health-prober"

    def __init__(
        self,
        reactor: IReactorTime,
        voter: Voter,
        check: Check,
        changed: Callable[[], None],
        period: float,
        random: Random | None = None,
    ) -> None:
        self._reactor = reactor
        self._voter = voter
        self._check = check
        self._changed = changed
        self._period = period
        self._random = random or Random()
        self._peers: dict[str, Member] = {}
        self._waiting: dict[str, IDelayedCall] = {}
        self._checking: dict[str, Deferred[None]] = {}
        self._places = DeferredSemaphore(AT_ONCE)
        self._looked = 0.0
        self._looking = PeriodicCall(reactor, LOOK, self._look)

    def probe(self, members: Sequence[Member]) -> None:
        """Check these members and no others from now on."""
        wanted = {member.name: member for member in members}
        before, self._peers = self._peers, wanted
        for name, member in before.items():
            if wanted.get(name) != member:  # a check of a peer's old address says nothing of the peer
                self._forget(name)
        if self.running:
            for name in wanted:
                if name not in self._waiting and name not in self._checking:
                    self._wait(name, self._random.random() * min(1.0, self._period))

    def _forget(self, name: str) -> None:
        if (checking := self._checking.pop(name, None)) is not None:
            checking.cancel()
        if (call := self._waiting.pop(name, None)) is not None:
            call.cancel()

    def _wait(self, name: str, seconds: float) -> None:
        self._waiting[name] = self._reactor.callLater(seconds, self._begin, name)

    def _begin(self, name: str) -> None:
        del self._waiting[name]
        started = self._reactor.seconds()
        done = self._checking[name] = in_background(
            self._one(name), _log, "the check of {peer} failed", peer=name
        )
        done.addCallback(self._ended, name, started, done)

    def _ended(self, _: None, name: str, started: float, done: Deferred[None]) -> None:
        if self._checking.get(name) is not done and name in self._checking:
            return
        self._checking.pop(name, None)
        if not self.running or name not in self._peers:
            return
        state = self._voter.peers.get(name)
        if state is not None and state.failures and state.opinion is not Opinion.UNHEALTHY:
            pause = RECHECK
        else:
            spread = 1 + JITTER * (2 * self._random.random() - 1)
            pause = max(0.0, started + self._period * spread - self._reactor.seconds())
        self._wait(name, pause)

    async def _one(self, name: str) -> None:
        await self._places.acquire()
        try:
            score = await self._check(self._peers[name], float(self._voter.local.multiplier))
        finally:
            self._places.release()
        before = self._voter.peers.get(name)
        if self._voter.observe(name, score, self._reactor.seconds()):
            assert before is not None
            _log.info(
                "{peer} is {opinion}, score {score}",
                peer=name,
                opinion=before.opinion.name.lower(),
                score=score,
            )
            self._changed()

    def _look(self) -> None:
        now = self._reactor.seconds()
        self._voter.local.lag(now - self._looked - LOOK)
        self._looked = now

    def startService(self) -> None:
        """Start checking."""
        super().startService()
        self._looked = self._reactor.seconds()
        self._looking.start()
        self.probe(list(self._peers.values()))

    def stopService(self) -> None:
        """Stop checking."""
        super().stopService()
        self._looking.stop()
        for name in list(self._peers):
            self._forget(name)
