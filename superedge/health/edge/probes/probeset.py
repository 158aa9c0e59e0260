"""Runs the configured probes, and adds up their results to a score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

from twisted.internet.defer import Deferred, FirstError, TimeoutError, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from superedge.errors import SuperEdgeError
from superedge.health import metrics
from superedge.health.votes.messages import Member

_log = Logger()


class Mistaken(SuperEdgeError):
    """Another node has the peer's address."""


class ConfiguredProbe(NamedTuple):
    """``weight`` is the probe's part of the score; ``port`` is 0 for that of the peer's kubelet."""

    kind: str
    checker: Any
    weight: float
    timeout: float
    retries: int
    port: int


class ProbeSet:
    """Scores peers, 0 to 100. ``known`` says whether a node is a member of the unit."""

    def __init__(
        self, reactor: IReactorTime, probes: Sequence[ConfiguredProbe], known: Callable[[str], bool]
    ) -> None:
        self._reactor = reactor
        self._known = known
        self._probes = tuple(probes)

    async def score(self, member: Member, multiplier: float) -> int:
        """100 times the sum of the weights of passed probes; ``multiplier`` applies to their timeouts."""
        checks = [Deferred.fromCoroutine(self._passes(each, member, multiplier)) for each in self._probes]
        try:
            passed = await gatherResults(checks, consumeErrors=True)
        except FirstError as problem:
            raise cast(Exception, problem.subFailure.value) from problem
        parts = (probe.weight * 100 for probe, well in zip(self._probes, passed, strict=True) if well)
        return round(sum(parts))

    async def _passes(self, probe: ConfiguredProbe, member: Member, multiplier: float) -> bool:
        port = probe.port or member.kubelet
        timeout = probe.timeout * multiplier
        for _ in range(1 + probe.retries):
            attempt: Deferred[str | None] = Deferred.fromCoroutine(
                probe.checker.check(member.host, port, timeout)
            )
            attempt.addTimeout(timeout, self._reactor)
            try:
                self._compare(member.name, await attempt)
            except TimeoutError:
                _log.debug("{probe} of {peer}: no answer in time", probe=probe.kind, peer=member.name)
            except SuperEdgeError as problem:
                _log.debug(
                    "{probe} of {peer} failed: {problem}", probe=probe.kind, peer=member.name, problem=problem
                )
            else:
                metrics.PROBES.labels("passed").inc()
                return True
        metrics.PROBES.labels("failed").inc()
        return False

    def _compare(self, peer: str, answers: str | None) -> None:
        # A name of no member may be an alias of the peer.
        if answers is not None and answers != peer and self._known(answers):
            raise Mistaken(f"{answers} has its address")

    def close(self) -> None:
        """Close the probes' connections."""
        for probe in self._probes:
            probe.checker.close()
