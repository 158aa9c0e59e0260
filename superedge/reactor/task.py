"""Coroutines that run without a caller that awaits them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure


class Task:
    """Runs a coroutine that awaits Deferreds and has no result.

    ``Deferred.fromCoroutine`` would create several Deferreds for each coroutine; this creates none.
    ``failed`` receives the exception that the coroutine raises.
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
        """Cancel the Deferred that the coroutine awaits. The resulting CancelledError is not a failure."""
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
            del self._failed  # it usually refers to the task's owner, a reference cycle
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
    """Run a coroutine and log its exception with the message ``failed``; a cancellation is not logged.

    The result fires with None in every case. Cancel it to end the coroutine.
    """
    done = Deferred.fromCoroutine(coroutine)

    def ended(failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            log.failure(failed, failure, **fields)

    return done.addErrback(ended)
