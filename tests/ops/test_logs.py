"""Log lines for people and for machines."""

from __future__ import annotations

import io
import json
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import Logger, LogLevel, globalLogPublisher
from twisted.python import log as legacy
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.log import LogConfig
from superedge.ops.logs import MAX_TEXT, json_line, make_observer, text_line


def caught() -> Failure:
    try:
        raise ValueError('two\nlines and "quotes"')
    except ValueError:
        return Failure()


class LogTests(SynchronousTestCase):
    def event(self, text: str, level: LogLevel = LogLevel.info, **fields: Any) -> dict[str, Any]:
        """An event as Logger makes it."""
        seen: list[dict[str, Any]] = []
        Logger(namespace="superedge.test", observer=cast(Any, seen.append)).emit(level, text, **fields)
        (event,) = seen
        event["log_time"] = 1767225600.25
        return event

    def read(self, event: dict[str, Any]) -> dict[str, Any]:
        line = json_line(event)
        self.assertEqual(line.count("\n"), 1)
        self.assertTrue(line.endswith("\n"))
        fields: dict[str, Any] = json.loads(line)
        return fields

    def test_text(self) -> None:
        event = self.event("node {node} came", LogLevel.warn, node="edge-1")
        self.assertEqual(text_line(event), "2026-01-01T00:00:00.250Z warn superedge.test: node edge-1 came\n")

    def test_text_with_a_traceback(self) -> None:
        line = text_line(self.event("it broke", LogLevel.critical, log_failure=caught()))
        self.assertIn("critical superedge.test: it broke\n", line)
        self.assertIn("ValueError: two", line)

    def test_what_a_peer_says_is_no_line_of_its_own(self) -> None:
        said = "no\n2026-01-01T00:00:00.250Z info superedge.test: all is well\r\x1b[2K"
        line = text_line(self.event("refused: {reason}", reason=said))
        self.assertEqual(
            line,
            "2026-01-01T00:00:00.250Z info superedge.test: refused: no\n"
            "    2026-01-01T00:00:00.250Z info superedge.test: all is well\\x0d\\x1b[2K\n",
        )

    def test_json(self) -> None:
        event = self.event(
            "node {node} came", LogLevel.warn, node="edge-1", epoch=3, rtt=0.5, up=True, gone=None
        )
        self.assertEqual(
            self.read(event),
            {
                "time": "2026-01-01T00:00:00.250Z",
                "level": "warn",
                "logger": "superedge.test",
                "message": "node edge-1 came",
                "node": "edge-1",
                "epoch": 3,
                "rtt": 0.5,
                "up": True,
                "gone": None,
            },
        )

    def test_json_with_a_traceback_stays_one_line(self) -> None:
        fields = self.read(self.event("it broke", LogLevel.critical, log_failure=caught()))
        self.assertEqual(fields["message"], "it broke")
        self.assertIn('ValueError: two\nlines and "quotes"', fields["failure"])
        self.assertIn("Traceback", fields["failure"])

    def test_json_of_what_json_has_no_word_for(self) -> None:
        fields = self.read(
            self.event(
                "odd", paths=["a", "b"], raw=b"\xff", far=float("inf"), none=float("nan"), half="\ud800"
            )
        )
        self.assertEqual((fields["paths"], fields["far"], fields["none"]), ("['a', 'b']", "inf", "nan"))
        json_line(self.event("{half}", half="\ud800")).encode("utf-8")

    def test_a_field_does_not_hide_what_every_line_has(self) -> None:
        event = {**self.event("{level} of {logger}", LogLevel.error), "level": 9, "logger": "x"}
        fields = self.read(event)
        self.assertEqual((fields["level"], fields["logger"]), ("error", "superedge.test"))
        self.assertEqual(fields["message"], "9 of x")

    def test_an_event_that_cannot_be_formatted_is_still_a_line(self) -> None:
        self.assertIn("missing", self.read(self.event("no {missing} field"))["message"])

    def test_a_legacy_failure_keeps_its_traceback(self) -> None:
        out = io.StringIO()
        observer = make_observer(cast(Any, MemoryReactorClock()), LogConfig(format="json"), out)
        globalLogPublisher.addObserver(observer)
        try:
            legacy.err(caught(), "reading the list")
        finally:
            globalLogPublisher.removeObserver(observer)
        self.flushLoggedErrors(ValueError)
        fields = json.loads(out.getvalue())
        self.assertIn("reading the list\nTraceback (most recent call last)", fields["message"])
        self.assertEqual(fields["level"], "critical")

    def test_what_is_too_long_is_cut(self) -> None:
        event = self.event("{reason}", reason="x" * 9000)
        cut = "x" * MAX_TEXT + "... (7000 more characters)"
        self.assertTrue(text_line(event).endswith(f": {cut}\n"))
        fields = self.read(event)
        self.assertEqual((fields["message"], fields["reason"]), (cut, cut))

    def test_a_traceback_is_never_cut(self) -> None:
        failure = Failure(ValueError("y" * 9000))
        event = self.event("it broke", LogLevel.critical, log_failure=failure)
        self.assertIn("y" * 9000, text_line(event))
        self.assertIn("y" * 9000, self.read(event)["failure"])

    def test_levels(self) -> None:
        out = io.StringIO()
        observer = make_observer(cast(Any, MemoryReactorClock()), LogConfig(level="warn"), out)
        for level in (LogLevel.debug, LogLevel.info, LogLevel.warn, LogLevel.error, LogLevel.critical):
            observer(self.event("seen", level))
        self.assertEqual(
            [line.split(" ")[1] for line in out.getvalue().splitlines()], ["warn", "error", "critical"]
        )

    @given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.text(), max_size=4), st.text())
    def test_any_fields_make_one_line(self, fields: dict[str, str], text: str) -> None:
        event = {"log_level": LogLevel.info, "log_namespace": "x", "log_format": text, **fields}
        line = json_line(event)
        self.assertEqual(line.encode().count(b"\n"), 1)
        json.loads(line)
