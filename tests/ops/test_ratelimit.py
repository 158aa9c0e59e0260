"""No cause fills the log, and none hides another."""

from __future__ import annotations

import io
from typing import Any, cast

from twisted.internet.testing import MemoryReactorClock
from twisted.logger import Logger, LogLevel
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.log import LogConfig
from superedge.ops import ratelimit
from superedge.ops.logs import make_observer
from superedge.ops.ratelimit import MAX_LINES, PERIOD


class LimitedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.out = io.StringIO()
        self.reactor = MemoryReactorClock()
        observer = make_observer(cast(Any, self.reactor), LogConfig(level="debug"), self.out)
        self.log = Logger(namespace="superedge.test", observer=observer)

    def lines(self) -> list[str]:
        """What was written since the last time, without its time."""
        found = [line.partition(" ")[2] for line in self.out.getvalue().splitlines()]
        self.out.truncate(0)
        self.out.seek(0)
        return found

    def test_a_flood_is_some_lines_and_a_count(self) -> None:
        for number in range(6771):
            self.log.warn("dial of {address} failed", address=number)
        written = self.lines()
        self.assertEqual(len(written), MAX_LINES)
        self.assertEqual(written[0], "warn superedge.test: dial of 0 failed")
        self.reactor.advance(PERIOD)
        count = f"left out {6771 - MAX_LINES} lines within 60 s like: dial of {{address}} failed"
        self.assertEqual(self.lines(), [f"warn superedge.test: {count}"])
        self.reactor.advance(PERIOD)
        self.assertEqual(self.lines(), [])
        self.log.warn("dial of {address} failed", address="it")
        self.assertEqual(len(self.lines()), 1, "a new period begins")

    def test_one_kind_hides_no_other(self) -> None:
        for _ in range(MAX_LINES + 7):
            self.log.warn("dial on {node} failed: {code}", node="edge-1", code="refused")
        self.assertEqual(len(self.lines()), MAX_LINES)
        self.log.warn("dial on {node} failed: {code}", node="edge-2", code="refused")
        self.log.warn("dial on {node} failed: {code}", node="edge-1", code="timeout")
        self.log.warn("another text", node="edge-1", code="refused")
        self.assertEqual(len(self.lines()), 3)
        self.reactor.advance(PERIOD)
        (line,) = self.lines()
        end = " 7 lines within 60 s like: dial on {node} failed: {code} (node edge-1) (code refused)"
        self.assertTrue(line.endswith(end), line)

    def test_failures_too(self) -> None:
        for _ in range(MAX_LINES + 1):
            self.log.emit(LogLevel.critical, "it broke")
        self.assertEqual(len(self.lines()), MAX_LINES)

    def test_who_asks_for_everything_gets_it(self) -> None:
        for _ in range(2 * MAX_LINES):
            self.log.debug("it happens")
        self.assertEqual(len(self.lines()), 2 * MAX_LINES)

    def test_kinds_without_end(self) -> None:
        self.patch(ratelimit, "MAX_KINDS", 10)
        for number in range(200):
            self.log.info("hello", node=str(number))
        self.assertEqual(len(self.lines()), 10 + MAX_LINES)
        self.reactor.advance(PERIOD)
        self.assertEqual(
            self.lines(), [f"info superedge.test: left out {190 - MAX_LINES} lines within 60 s like: hello"]
        )

    def test_the_count_is_told_at_the_end(self) -> None:
        for _ in range(MAX_LINES + 1):
            self.log.info("hello")
        self.lines()
        ((function, _, _),) = self.reactor.triggers["after"]["shutdown"]
        function()
        self.assertEqual(len(self.lines()), 1)
