"""Whether the cloud answers: a state machine, and the probes that move it.

Requests go to the cloud while `Health.online`. One hard failure raises a suspicion that a probe confirms or
removes; offline ends with two good probes.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from automat import TypeMachineBuilder
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from superedge.liteapiserver import metrics
from superedge.reactor.delayedcalls import DelayedCalls
from superedge.reactor.loops import Loop

EAGER = 0.25
"""Seconds between two probes at least while requests ask for them offline."""
PROBE_LIMIT = 30.0
"""Seconds within which a probe is over."""

_log = Logger()


class ProbeResult(enum.Enum):
    """What a probe found."""

    READY = "ready"
    """The API server is there and ready."""
    ANSWERING = "answering"
    """An API server is there and says that it is not ready: its answers count, but it is not returned to."""
    FAILED = "failed"
    """Nothing there that is an API server."""


CAUSES = ("name", "refused", "timeout", "tls", "closed", "stranger", "not-ready", "other")
"""The kinds of reason for which a probe does not find a ready API server."""


class Finding(NamedTuple):
    """What a probe found; unless that is READY, of which of the `CAUSES`, and a clause that says why."""

    result: ProbeResult
    cause: str = ""
    reason: str = ""


class _Inputs(Protocol):
    def request_failed(self) -> None:
        """A request met what only an absent cloud does."""

    def probe_ready(self) -> None:
        """A probe found a ready API server."""

    def probe_answering(self) -> None:
        """A probe found an API server that is not ready."""

    def probe_failed(self) -> None:
        """A probe found none."""


class _Core:
    """Told of every state that is entered."""

    def __init__(self, entered: Callable[[str], None]) -> None:
        self.entered = entered


def _enter(name: str) -> Callable[[object, _Core], None]:
    def enter(_machine: object, core: _Core) -> None:
        core.entered(name)

    return enter


def _build() -> Callable[[_Core], _Inputs]:
    builder = TypeMachineBuilder(_Inputs, _Core)
    starting = builder.state("starting")
    online = builder.state("online")
    suspect = builder.state("suspect")
    offline = builder.state("offline")
    recovering = builder.state("recovering")
    table = (
        (starting, _Inputs.request_failed, None),
        (starting, _Inputs.probe_ready, online),
        (starting, _Inputs.probe_answering, offline),
        (starting, _Inputs.probe_failed, offline),
        (online, _Inputs.request_failed, suspect),
        (online, _Inputs.probe_ready, None),
        (online, _Inputs.probe_answering, None),
        (online, _Inputs.probe_failed, suspect),
        (suspect, _Inputs.request_failed, None),
        (suspect, _Inputs.probe_ready, online),
        (suspect, _Inputs.probe_answering, online),
        (suspect, _Inputs.probe_failed, offline),
        (offline, _Inputs.request_failed, None),
        (offline, _Inputs.probe_ready, recovering),
        (offline, _Inputs.probe_answering, None),
        (offline, _Inputs.probe_failed, None),
        (recovering, _Inputs.request_failed, offline),
        (recovering, _Inputs.probe_ready, online),
        (recovering, _Inputs.probe_answering, offline),
        (recovering, _Inputs.probe_failed, offline),
    )
    names = {online: "online", suspect: "suspect", offline: "offline", recovering: "recovering"}
    for state, given, target in table:
        if target is None:
            state.upon(given).loop().returns(None)
        else:
            state.upon(given).to(target)(_enter(names[target]))
    return builder.build()


_machine = _build()


class Health:
    """Runs the probes and tells who asked of the changes.

    Args:
        reactor: time.
        probe: asks the cloud once; must end by itself.
        interval: seconds between probes while nothing else shows that the cloud answers.
    """

    def __init__(
        self, reactor: IReactorTime, probe: Callable[[], Awaitable[Finding]], interval: float
    ) -> None:
        self._reactor = reactor
        self._probe = probe
        self._interval = interval
        self._due = interval + PROBE_LIMIT
        self._machine = _machine(_Core(self._entered))
        self.state = "starting"
        self.since = reactor.seconds()
        self.online = True
        """Whether requests go to the cloud."""
        self._last_answer = 0.0
        self._probe_began = reactor.seconds()
        self.reason = ""
        """Why the last probe did not find a ready API server; empty when it did."""
        self._told = ""
        """The reason that the log has."""
        self._ended = -EAGER
        """When the last probe did."""
        self._trials: list[Deferred[bool]] = []
        self._waited_for = False
        self._hurry: Deferred[None] | None = None
        self._eager = DelayedCalls(reactor)
        self._loop = Loop(reactor, "the probe of the cloud", self._run, self._due)
        self.on_offline: Callable[[], None] = lambda: None
        self.on_online: Callable[[], None] = lambda: None
        self.on_answer: Callable[[], None] = lambda: None
        """Called when a probe finds that the cloud is there after all."""

    def start(self) -> None:
        """Begin to probe."""
        self._loop.start()

    def stop(self) -> None:
        """Probe no more."""
        self._loop.stop()
        self._eager.cancel_all()

    def answered(self) -> float:
        """A real API server answered a request, or sent more of its answer; when, in reactor seconds."""
        self._last_answer = self._reactor.seconds()
        return self._last_answer

    @property
    def probe_began(self) -> float:
        """When the last probe did, reactor seconds."""
        return self._probe_began

    def failed(self, reason: str) -> None:
        """A request met a hard failure: refused, TLS, closed before an answer, a load balancer's 502."""
        if self.state == "online":
            _log.warn("the cloud may be unreachable: {reason}", reason=reason)
        self._machine.request_failed()
        self.doubt()

    def slow(self, since: float) -> None:
        """A request has been waiting for too long since then (reactor seconds): probe, once for it.

        It counts as a failure when the probe fails, too.
        """
        if since > self._probe_began:
            self._waited_for = True
            self.doubt()

    def doubt(self) -> None:
        """Probe now: something was cut short, or waits for longer than is usual."""
        if self.online:
            self._cut_pause()

    def _cut_pause(self) -> None:
        hurry, self._hurry = self._hurry, None
        if hurry is not None:
            hurry.cancel()

    def trial(self) -> Deferred[bool]:
        """Whether the next probe to end finds a ready API server; it begins at once. Cancellable.

        For a write that came while offline: the cloud may be back, and nobody has noticed yet.
        """
        waiting: Deferred[bool] = Deferred(self._trials.remove)
        self._trials.append(waiting)
        self._hurry_up()
        return waiting

    def _hurry_up(self) -> None:
        if self._hurry is None or not self._trials:
            return
        early = self._ended + EAGER - self._reactor.seconds()
        if early > 0:
            self._eager.call_later(early, self._hurry_up)
        else:
            self._cut_pause()

    def _tried(self, is_ready: bool) -> None:
        trials, self._trials = self._trials, []
        for waiting in trials:
            waiting.callback(is_ready)

    async def _run(self) -> None:
        while True:
            self._probe_began = self._reactor.seconds()
            result, cause, reason = await self._probe()
            self._ended = self._reactor.seconds()
            self._explain(cause, reason)
            waited_for, self._waited_for = self._waited_for, False
            if result is ProbeResult.FAILED and self._last_answer > self._probe_began:
                result = ProbeResult.ANSWERING  # the link is busy with another answer
            if result is ProbeResult.READY:
                self._machine.probe_ready()
            elif result is ProbeResult.ANSWERING:
                self._machine.probe_answering()
            else:
                if waited_for:
                    self._machine.request_failed()
                self._machine.probe_failed()
            if result is not ProbeResult.FAILED and self.online:
                self.on_answer()
            self._tried(result is ProbeResult.READY)
            self._loop.iteration_done(self._due)
            await self._pause()

    async def _pause(self) -> None:
        if self.state == "suspect":
            return
        delay = min(1.0, self._interval) if self.state == "recovering" else self._interval
        while True:
            self._hurry = deferLater(self._reactor, delay)
            hurry = self._hurry
            self._hurry_up()
            try:
                await hurry
            except CancelledError:
                if self._hurry is hurry:
                    raise  # we are stopped
                return
            self._hurry = None
            if self.state != "online":
                return
            delay = self._last_answer + self._interval - self._reactor.seconds()
            if delay <= 0:
                return

    def _explain(self, cause: str, reason: str) -> None:
        """Note why the cloud is not there, and say so again when that changes."""
        self.reason = reason
        for each in CAUSES:
            metrics.CAUSE.labels(each).set(each == cause)
        if reason and not self.online and reason != self._told:
            self._told = reason
            _log.info("still offline: {reason}", reason=reason)

    def _entered(self, state: str) -> None:
        before, self.state = self.state, state
        self.since = self._reactor.seconds()
        metrics.TRANSITIONS.labels(state).inc()
        was_online, self.online = self.online, state in ("online", "suspect")
        metrics.ONLINE.set(self.online)
        if was_online and not self.online:
            self._told = self.reason
            _log.warn("offline: the cache answers; {reason}", reason=self.reason)
            self.on_offline()
        elif self.online and not was_online:
            _log.info("online: requests go to the cloud")
            self.on_online()
        elif state == "online" and before in ("suspect", "starting"):
            _log.info("the cloud answers")
