"""The root of the tree: its log, and how it says that it cannot start."""

from __future__ import annotations

import gc
import io
import json
import os
import signal
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, cast

from twisted.application.service import Application, Service
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import ILogObserver, LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from superedge import __version__
from superedge.config.log import LogConfig
from superedge.config.root import Config
from superedge.errors import SuperEdgeError
from superedge.tap.collector import THRESHOLDS
from superedge.tap.command import Command
from superedge.tap.edge import Options
from superedge.tap.program import Program


class Broken(Service):
    """Cannot start."""

    def __init__(self, problem: Exception) -> None:
        self.problem = problem

    def startService(self) -> None:
        raise self.problem


class Reactor(MemoryReactorClock):
    """With one thread."""

    def callFromThread(self, function: Any) -> None:
        function()

    def getThreadPool(self) -> None:
        """No name is looked up."""


class CommandTests(SynchronousTestCase):
    def make(self, config: Config, twistd: dict[str, Any] | None) -> Command:
        options = Options()
        path = Path(self.mktemp())
        path.write_text("")
        options.program = Program("superedge-edge", path)
        options.program.config = config
        options.program.path = Path("/etc/superedge/edge.toml")
        options["strict"] = False
        options.parent = cast(Any, twistd)
        self.addCleanup(signal.signal, signal.SIGHUP, signal.getsignal(signal.SIGHUP))
        command = Command(options, cast(Any, Reactor()))
        self.addCleanup(command.stopService)
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        self.addCleanup(gc.unfreeze)
        return command

    def observer(self, twistd: dict[str, Any], log: LogConfig | None = None) -> Any:
        application: Any = Application("test")
        self.make(Config(log=log or LogConfig()), twistd).setServiceParent(application)
        return application.getComponent(ILogObserver)

    def event(self, level: LogLevel) -> dict[str, Any]:
        return {"log_level": level, "log_namespace": "x", "log_format": "seen {n}", "n": 1, "log_time": 0.0}

    def test_logs_to_standard_output_in_the_foreground(self) -> None:
        said = io.StringIO()
        self.patch(__import__("sys"), "stdout", said)
        observer = self.observer({"nodaemon": 1}, LogConfig(format="json", level="warn"))
        observer(self.event(LogLevel.info))
        observer(self.event(LogLevel.warn))
        (line,) = said.getvalue().splitlines()
        self.assertEqual(json.loads(line)["message"], "seen 1")

    def test_logs_to_a_file(self) -> None:
        path = Path(self.mktemp())
        for twistd in ({"nodaemon": 1, "logfile": str(path)}, {"logfile": str(path)}):
            self.observer(twistd)(self.event(LogLevel.error))
        self.assertEqual(path.read_text(), "1970-01-01T00:00:00.000Z error x: seen 1\n" * 2)

    def test_a_log_file_that_was_moved_away_is_begun_anew(self) -> None:
        path = Path(self.mktemp())
        application: Any = Application("test")
        command = self.make(Config(), {"logfile": str(path)})
        command.setServiceParent(application)
        observer = application.getComponent(ILogObserver)
        observer(self.event(LogLevel.error))
        moved = path.rename(path.with_suffix(".1"))
        command.refresh()
        observer(self.event(LogLevel.warn))
        self.assertEqual(moved.read_text(), "1970-01-01T00:00:00.000Z error x: seen 1\n")
        self.assertEqual(path.read_text(), "1970-01-01T00:00:00.000Z warn x: seen 1\n")

    def test_a_log_file_that_cannot_be_begun_anew_goes_on(self) -> None:
        path = Path(self.mktemp())
        application: Any = Application("test")
        command = self.make(Config(), {"logfile": str(path)})
        command.setServiceParent(application)
        moved = path.rename(path.with_suffix(".1"))
        path.mkdir()
        with capturedLogs() as events:
            command.refresh()
        self.assertIn("Is a directory", formatEvent(events[0]))
        application.getComponent(ILogObserver)(self.event(LogLevel.warn))
        self.assertEqual(moved.read_text(), "1970-01-01T00:00:00.000Z warn x: seen 1\n")

    def test_twistds_own_logging_wins_when_asked_for(self) -> None:
        self.assertIsNone(self.observer({"logger": "x.y"}))
        self.assertIsNone(self.observer({"syslog": 1}))

    def test_a_log_file_that_cannot_be_opened(self) -> None:
        stop = cast(SystemExit, self.assertRaises(SystemExit, self.observer, {"logfile": "/none/such.log"}))
        self.assertEqual(
            stop.code, "superedge-edge: /none/such.log: cannot be opened: No such file or directory"
        )
        self.assertRaises(SystemExit, self.observer, {"logfile": "-"})

    def test_what_cannot_be_composed_is_one_sentence(self) -> None:
        said = io.StringIO()
        with redirect_stderr(said):
            stop = self.assertRaises(SystemExit, self.make, Config(plugins={"mine": {}}), {"nodaemon": 1})
        self.assertEqual(cast(SystemExit, stop).code, 78)
        where = "superedge-edge: /etc/superedge/edge.toml: plugins"
        self.assertTrue(
            said.getvalue().startswith(f"{where}: no installed plugin is called 'mine'"), said.getvalue()
        )

    def test_what_cannot_start_ends_the_process(self) -> None:
        command = self.make(Config(), {"nodaemon": 1})
        Broken(SuperEdgeError("the port is taken")).setServiceParent(command)
        stop = cast(SystemExit, self.assertRaises(SystemExit, command.startService))
        self.assertEqual(stop.code, 1)

    def test_a_plugin_that_cannot_start_is_in_the_log(self) -> None:
        command = self.make(Config(), {"nodaemon": 1})
        Broken(ValueError("no such door")).setServiceParent(command)
        stop = cast(SystemExit, self.assertRaises(SystemExit, command.startService))
        self.assertEqual(stop.code, 1)
        (failure,) = self.flushLoggedErrors(ValueError)
        self.assertEqual(failure.getErrorMessage(), "no such door")

    def test_what_cannot_start_as_a_daemon_is_told_to_twistd(self) -> None:
        command = self.make(Config(), {"nodaemon": 0})
        Broken(SuperEdgeError("the port is taken")).setServiceParent(command)
        self.assertRaises(SuperEdgeError, command.startService)

    def test_the_log_begins_with_what_runs_and_what_will_not_do(self) -> None:
        command = self.make(Config(), None)
        with capturedLogs() as events:
            command.startService()
        self.successResultOf(command.stopService())
        said = [(event["log_level"].name, formatEvent(event)) for event in events][:2]
        self.assertEqual(
            said,
            [
                ("info", f"superedge-edge {__version__} with /etc/superedge/edge.toml"),
                ("warn", "no table enables a component: nothing will run"),
            ],
        )

    def test_the_collector_leaves_alone_what_stays(self) -> None:
        self.make(Config(), None).startService()
        self.assertEqual(gc.get_threshold(), THRESHOLDS)
        self.assertGreater(gc.get_freeze_count(), 1000)

    def test_a_hangup_ends_nothing_from_the_start_on(self) -> None:
        command, early = self.make(Config(), None), Service()
        self.patch(early, "startService", lambda: os.kill(os.getpid(), signal.SIGHUP))
        early.setServiceParent(command)
        signal.signal(signal.SIGHUP, lambda *_: self.fail("it ends the process"))
        with capturedLogs() as events:
            command.startService()
        self.successResultOf(command.stopService())
        self.assertIn("SIGHUP: checked the certificate files", formatEvent(events[-1]))

    def test_a_tree_without_components_starts_and_stops(self) -> None:
        command = self.make(Config(), None)
        command.startService()
        self.assertTrue(command.running)
        self.successResultOf(command.stopService())
        self.assertFalse(command.running)
