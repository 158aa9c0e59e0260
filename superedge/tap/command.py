"""The root of the service tree: signals, the first log lines, and how twistd and `superedge` run it."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
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
from superedge.tap.collector import settle
from superedge.tap.compose import installed_reactor
from superedge.tap.program import Program

if TYPE_CHECKING:
    from superedge.tap.options import BaseOptions

_log = Logger()


class Root(MultiService):
    """A program's services. An error that prevents their start is one log line and exit code 1."""

    log_file: LogFile | None = None

    def __init__(self, program: Program, reactor: IReactor, strict: bool) -> None:
        """Ends the process if the services cannot be created or, with ``strict``, if there are warnings."""
        super().__init__()
        self._program = program
        self._reactor = reactor
        self._strict = strict
        install(self._reactor)
        self._composition = program.compose(reactor)
        self._composition.setServiceParent(self)

    def privilegedStartService(self) -> None:
        """Do what takes rights that the process gives up afterwards, or end the process."""
        with self._or_end():
            super().privilegedStartService()

    def startService(self) -> None:
        """Start every service, or end the process."""
        # Before the first log line: after it, an operator may send a signal.
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
        with self._or_end():
            super().startService()
        settle()
        # After the reactor has begun to run, because it then sets its own handler.
        self._reactor.callWhenRunning(self._on_signal, signal.SIGTERM, self._stop)

    @contextlib.contextmanager
    def _or_end(self) -> Iterator[None]:
        try:
            yield
        except SuperEdgeError as problem:
            _log.critical("{command} cannot start: {problem}", command=self._program.command, problem=problem)
            self.cannot_start(problem)
        except Exception as problem:  # of a plugin's service
            _log.failure("{command} cannot start", command=self._program.command)
            self.cannot_start(problem)

    def cannot_start(self, problem: Exception) -> None:
        """End the process."""
        sys.exit(EXIT_FAILED)

    def _on_signal(self, number: signal.Signals, react: Callable[[], None]) -> None:
        signal.signal(number, lambda *_: self._reactor.callFromThread(react))

    def _stop(self) -> None:
        """Exit with 0 on SIGTERM; Twisted would exit by the signal."""
        with contextlib.suppress(ReactorNotRunning):  # a second signal
            self._reactor.stop()
            _log.info("stopping on SIGTERM")

    def refresh(self) -> None:
        """Load changed certificates now, and reopen the log file after rotation."""
        if self.log_file is not None:
            try:
                self.log_file.reopen()
            except OSError as problem:
                _log.error("the log file cannot be reopened: {problem}", problem=problem)
        self._composition.watcher.check()
        _log.info("SIGHUP: checked the certificate files; a changed configuration needs a restart")


class Command(Root):
    """The root under twistd, whose options decide where the log goes."""

    def __init__(self, options: BaseOptions, reactor: IReactor | None = None) -> None:
        self._options = options
        super().__init__(options.program, reactor or installed_reactor(), bool(options["strict"]))

    def setServiceParent(self, parent: Any) -> None:
        """Join twistd's application, and set its log observer."""
        super().setServiceParent(parent)
        twistd: Any = self._options.parent or {}
        if twistd.get("logger") or twistd.get("syslog"):
            return  # the user chose one of twistd's own observers
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

    def cannot_start(self, problem: Exception) -> None:
        """End the process. A daemonizing twistd needs the exception instead."""
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
