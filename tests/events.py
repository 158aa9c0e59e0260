"""What is logged while a test runs."""

from __future__ import annotations

from typing import Any, cast

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase


def logged(case: SynchronousTestCase) -> list[dict[str, Any]]:
    """Every event that is logged from now on, as long as the test lasts."""
    events: list[dict[str, Any]] = []
    observer = cast(Any, events.append)
    globalLogPublisher.addObserver(observer)
    case.addCleanup(globalLogPublisher.removeObserver, observer)
    return events
