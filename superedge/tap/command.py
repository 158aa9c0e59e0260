"""The root of the service tree: signals, the log's first lines, and the way both launchers run it."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from twisted.application.service import MultiService
from twisted.internet.error import ReactorNotRunning
from twisted.logger import ILogObserver, Logger, globalLogBeginner

from superedge import __version__
from superedge.errors import EXIT_FAILED, SuperEdgeError
from superedge.interfaces import IReactor
from superedge.ops.logs import LogFile, make_observer
from superedge.reactor.install import install
from superedge.tap.compose import installed_reactor
from superedge.tap.program import Program

if TYPE_CHECKING:
    from superedge.tap.options import BaseOptions

_log = Logger()


class Root(MultiService):
    """A program's services. An error that keeps them from starting is one log line and exit code 1."""

    log_file: LogFile | None = None

    def __init__(self, program: Program, reactor: IReactor, strict: bool) -> None:
        """Ends the process when the tree cannot be composed; ``strict``: also when there are warnings."""
        super().__init__()
        self._program = program
        self._reactor = reactor
        self._strict = strict
        install(self._reactor)
        self._composition = program.compose(reactor)
        self._composition.setServiceParent(self)

    def startService(self) -> None:
        """Start every service, or end the process."""
        # Before anything is logged: whoever sees the first line may send a signal.
        self._on_signal(signal.SIGHUP, self.refresh)
        program = self._program
        _log.info(
            "{command} {version} with {config}",
            command=program.command,
            version=__version__,
            config=str(program.path),
        )
        found = [*program.warnings(), *self._composition.warnings()]
        for warning in found:
            _log.warn("{text}", text=warning.text)
        if self._strict:
            program.refuse_warnings(found)
        try:
            super().startService()
        except SuperEdgeError as problem:
            _log.critical("{command} cannot start: {problem}", command=program.command, problem=problem)
            self.cannot_start(problem)
        # Once it runs: the reactor sets its own handler as it begins to run.
        self._reactor.callWhenRunning(self._on_signal, signal.SIGTERM, self._stop)

    def cannot_start(self, problem: SuperEdgeError) -> None:
        """End the process."""
        sys.exit(EXIT_FAILED)

    def _on_signal(self, number: signal.Signals, react: Callable[[], None]) -> None:
        signal.signal(number, lambda *_: self._reactor.callFromThread(react))

    def _stop(self) -> None:
        """Exit 0 on SIGTERM, where Twisted would end the process by the signal."""
        with contextlib.suppress(ReactorNotRunning):  # a second signal
            self._reactor.stop()
            _log.info("told to stop by SIGTERM")

    def refresh(self) -> None:
        """Load changed certificates now, and reopen a log file that was moved away."""
        if self.log_file is not None:
            try:
                self.log_file.reopen()
            except OSError as problem:
                _log.error("the log file cannot be reopened: {problem}", problem=problem)
        self._composition.watcher.check()
        _log.info("SIGHUP: checked the certificate files; a changed configuration needs a restart")


class Command(Root):
    """The root under twistd, which chooses where the log goes."""

    def __init__(self, options: BaseOptions, reactor: IReactor | None = None) -> None:
        """Ends the process with a sentence when the tree cannot be composed."""
        self._options = options
        super().__init__(options.program, reactor or installed_reactor(), bool(options["strict"]))

    def setServiceParent(self, parent: Any) -> None:
        """Join twistd's application and give it the log observer, which it asks for next."""
        super().setServiceParent(parent)
        twistd: Any = self._options.parent or {}
        if twistd.get("logger") or twistd.get("syslog"):
            return  # the user chose twistd's own way
        stream = self._log_stream(twistd.get("logfile"), bool(twistd.get("nodaemon")))
        parent.setComponent(ILogObserver, make_observer(self._reactor, self._program.config.log, stream))

    def _log_stream(self, path: str | None, foreground: bool) -> TextIO:
        if foreground and path in (None, "", "-"):
            return sys.stdout
        if path == "-":
            sys.exit(f"{self._program.command}: --logfile=- needs --nodaemon")
        try:
            self.log_file = LogFile(Path(path or "twistd.log"))
        except OSError as problem:
            sys.exit(f"{self._program.command}: {path or 'twistd.log'}: cannot be opened: {problem.strerror}")
        return self.log_file.stream

    def cannot_start(self, problem: SuperEdgeError) -> None:
        """End the process; a daemon's twistd waits for the exception itself."""
        if self._options.parent is not None and not self._options.parent.get("nodaemon"):
            raise problem
        super().cannot_start(problem)


def run_in_foreground(program: Program, strict: bool) -> None:
    """Run until SIGTERM or SIGINT, with the log on standard output."""
    reactor = installed_reactor()
    root = Root(program, reactor, strict)
    globalLogBeginner.beginLoggingTo(
        [make_observer(reactor, program.config.log, sys.stdout)], redirectStandardIO=False
    )
    root.privilegedStartService()
    root.startService()
    reactor.addSystemEventTrigger("before", "shutdown", root.stopService)
    reactor.run()
