"""Coroutines that run on their own."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure


class Task:
    """A coroutine of which nobody awaits the end; what it awaits are Deferreds.

    ``Deferred.fromCoroutine`` for those without a result: that makes several Deferreds for each, this none.
    ``failed`` is given what the coroutine raises.
    """

    __slots__ = ("_coroutine", "_failed", "_waiting")

    def __init__(
        self, coroutine: Coroutine[Deferred[Any], Any, None], failed: Callable[[Failure], None]
    ) -> None:
        self._coroutine = coroutine
        self._failed = failed
        self._waiting: Deferred[Any] | None = None
        self._step(None)

    def cancel(self) -> None:
        """Give up what it waits for: the await raises CancelledError, which is no failure."""
        if self._waiting is not None:
            self._waiting.cancel()

    def _step(self, result: Any) -> None:
        self._waiting = None
        try:
            if isinstance(result, Failure):
                waiting = self._coroutine.throw(cast(BaseException, result.value))
            else:
                waiting = self._coroutine.send(result)
        except (StopIteration, CancelledError):
            del self._failed  # as a rule it leads back to who has the task
            return
        except Exception:
            self._failed(Failure())
            del self._failed
            return
        self._waiting = waiting
        waiting.addBoth(self._step)


def in_background(
    coroutine: Coroutine[Deferred[Any], Any, None], log: Logger, failed: str, **fields: Any
) -> Deferred[None]:
    """Run a coroutine that its owner only cancels; what else ends it early is logged with ``failed``.

    The result fires with None in any case.
    """
    done = Deferred.fromCoroutine(coroutine)

    def ended(failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            log.failure(failed, failure, **fields)

    return done.addErrback(ended)
