"""Whether the cloud is reachable: a state machine, driven by probes and failed requests.

Requests go to the cloud while `Health.online`. A failed request leads to ``suspect``, which a probe turns
into ``online`` or ``offline``; two successful probes end ``offline``.
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

MIN_PROBE_INTERVAL = 0.25
"""Seconds between probes at least, while offline requests ask for them."""
PROBE_TIMEOUT = 30.0
"""Seconds within which a probe ends."""

_log = Logger()


class ProbeResult(enum.Enum):
    """The result of a probe."""

    READY = "ready"
    """An API server is ready."""
    ANSWERING = "answering"
    """An API server answers that it is not ready: enough to stay online, not to come online."""
    FAILED = "failed"
    """No API server answers."""


CAUSES = ("name", "refused", "timeout", "tls", "closed", "not-api-server", "not-ready", "other")
"""Why a probe finds no ready API server, for metrics."""


class ProbeReport(NamedTuple):
    """The result of a probe; unless READY, with one of `CAUSES` and a clause that says why."""

    result: ProbeResult
    cause: str = ""
    reason: str = ""


class _Inputs(Protocol):
    def request_failed(self) -> None:
        """A request failed as it does when the cloud is away."""

    def probe_ready(self) -> None:
        """A probe found a ready API server."""

    def probe_answering(self) -> None:
        """A probe found an API server that is not ready."""

    def probe_failed(self) -> None:
        """A probe found none."""


class _Core:
    """Calls ``entered`` for every state that the machine enters."""

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
    """Runs the probes and calls back on changes.

    Args:
        reactor: time.
        probe: probes the cloud once, and ends within PROBE_TIMEOUT.
        interval: seconds between probes without another response of the cloud.
    """

    def __init__(
        self, reactor: IReactorTime, probe: Callable[[], Awaitable[ProbeReport]], interval: float
    ) -> None:
        self._reactor = reactor
        self._probe = probe
        self._interval = interval
        self._due = interval + PROBE_TIMEOUT
        self._machine = _machine(_Core(self._entered))
        self.state = "starting"
        self.since = reactor.seconds()
        self.online = True
        """Whether requests go to the cloud."""
        self._last_answer = 0.0
        self._probe_began = reactor.seconds()
        self.reason = ""
        """Why the last probe found no ready API server; empty if it found one."""
        self._logged_reason = ""
        """The reason that was logged last."""
        self._failures = 0
        """How often something failed, or made a probe necessary."""
        self._failures_before: int | None = None
        """How many failures came before the last probe began; None unless it found a ready API server."""
        self._probe_ended = -MIN_PROBE_INTERVAL
        """When the last probe ended, reactor seconds."""
        self._waiters: list[Deferred[bool]] = []
        self._slow_request = False
        self._pausing: Deferred[None] | None = None
        self._early_probe = DelayedCalls(reactor)
        self._loop = Loop(reactor, "the probe of the cloud", self._run, self._due)
        self.on_offline: Callable[[], None] = lambda: None
        self.on_online: Callable[[], None] = lambda: None
        self.on_probe_success: Callable[[], None] = lambda: None
        """Called when a probe succeeds while online."""

    def start(self) -> None:
        """Start the probes."""
        self._loop.start()

    def stop(self) -> None:
        """Stop the probes."""
        self._loop.stop()
        self._early_probe.cancel_all()

    def request_answered(self) -> float:
        """Note that an API server responded, or sent more of a response; returns the reactor seconds."""
        self._last_answer = self._reactor.seconds()
        return self._last_answer

    @property
    def is_settled(self) -> bool:
        """Whether a probe has found a ready API server, and nothing has failed since it began.

        Until its informers are synced, an API server that starts refuses with 403 what it will allow.
        """
        return self._failures_before == self._failures

    @property
    def probe_began(self) -> float:
        """When the last probe began, reactor seconds."""
        return self._probe_began

    def request_failed(self, reason: str) -> None:
        """Note a failed request: refused, TLS, closed without a response, a load balancer's 502."""
        if self.state == "online":
            _log.warn("the cloud may be unreachable: {reason}", reason=reason)
        self._machine.request_failed()
        self.probe_soon()

    def request_slow(self, since: float) -> None:
        """Probe once for a request that waits too long since ``since``, reactor seconds.

        If the probe fails, the request counts as failed, too.
        """
        if since > self._probe_began:
            self._slow_request = True
            self.probe_soon()

    def probe_soon(self) -> None:
        """Probe at once, if online."""
        self._failures += 1
        if self.online:
            self._end_pause()

    def _end_pause(self) -> None:
        pausing, self._pausing = self._pausing, None
        if pausing is not None:
            pausing.cancel()

    def next_probe(self) -> Deferred[bool]:
        """Probe soon; whether that probe finds a ready API server. Cancellable.

        For a write that came while offline, as the cloud may just have returned.
        """
        waiting: Deferred[bool] = Deferred(self._waiters.remove)
        self._waiters.append(waiting)
        self._shorten_pause()
        return waiting

    def _shorten_pause(self) -> None:
        if self._pausing is None or not self._waiters:
            return
        early = self._probe_ended + MIN_PROBE_INTERVAL - self._reactor.seconds()
        if early > 0:
            self._early_probe.call_later(early, self._shorten_pause)
        else:
            self._end_pause()

    def _notify_waiters(self, is_ready: bool) -> None:
        trials, self._waiters = self._waiters, []
        for waiting in trials:
            waiting.callback(is_ready)

    async def _run(self) -> None:
        while True:
            self._probe_began = self._reactor.seconds()
            failures = self._failures
            result, cause, reason = await self._probe()
            self._probe_ended = self._reactor.seconds()
            self._failures_before = failures if result is ProbeResult.READY else None
            self._note_reason(cause, reason)
            slow_request, self._slow_request = self._slow_request, False
            succeeded = result is not ProbeResult.FAILED
            if not succeeded and self._last_answer > self._probe_began:
                result = ProbeResult.ANSWERING  # the link is busy with another response
            if result is ProbeResult.READY:
                self._machine.probe_ready()
            elif result is ProbeResult.ANSWERING:
                self._machine.probe_answering()
            else:
                if slow_request:
                    self._machine.request_failed()
                self._machine.probe_failed()
            if succeeded and self.online:
                self.on_probe_success()
            self._notify_waiters(result is ProbeResult.READY)
            self._loop.iteration_done(self._due)
            await self._pause()

    async def _pause(self) -> None:
        if self.state == "suspect":
            return
        delay = min(1.0, self._interval) if self.state == "recovering" else self._interval
        while True:
            self._pausing = deferLater(self._reactor, delay)
            pausing = self._pausing
            self._shorten_pause()
            try:
                await pausing
            except CancelledError:
                if self._pausing is pausing:
                    raise  # the service stops
                return
            self._pausing = None
            if self.state != "online":
                return
            delay = self._last_answer + self._interval - self._reactor.seconds()
            if delay <= 0:
                return

    def _note_reason(self, cause: str, reason: str) -> None:
        """Note why the cloud is away, and log the reason when it changes."""
        self.reason = reason
        for each in CAUSES:
            metrics.CAUSE.labels(each).set(each == cause)
        if reason and not self.online and reason != self._logged_reason:
            self._logged_reason = reason
            _log.info("still offline: {reason}", reason=reason)

    def _entered(self, state: str) -> None:
        before, self.state = self.state, state
        self.since = self._reactor.seconds()
        metrics.TRANSITIONS.labels(state).inc()
        was_online, self.online = self.online, state in ("online", "suspect")
        metrics.ONLINE.set(self.online)
        if was_online and not self.online:
            self._logged_reason = self.reason
            _log.warn("offline: the cache answers; {reason}", reason=self.reason)
            self.on_offline()
        elif self.online and not was_online:
            _log.info("online: requests go to the cloud")
            self.on_online()
        elif state == "online" and before in ("suspect", "starting"):
            _log.info("the cloud answers")
