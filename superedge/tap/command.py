"""What twistd runs: the composed tree, with the log and the last words that the configuration asks for."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from twisted.application.service import MultiService
from twisted.internet.error import ReactorNotRunning
from twisted.logger import ILogObserver, Logger

from superedge import __version__
from superedge.errors import SuperEdgeError
from superedge.interfaces import IReactor
from superedge.net.polling import poll_plainly
from superedge.net.steadiness import steady
from superedge.ops.logs import LogFile, make_observer
from superedge.tap.compose import installed_reactor

if TYPE_CHECKING:
    from superedge.tap.options import BaseOptions

_log = Logger()


class Command(MultiService):
    """The root of the tree. What keeps it from starting is one sentence and exit code 1."""

    def __init__(self, options: BaseOptions, reactor: IReactor | None = None) -> None:
        """Ends the process with a sentence when the tree cannot be composed."""
        super().__init__()
        self._options = options
        self._reactor = reactor or installed_reactor()
        steady(self._reactor)
        poll_plainly(self._reactor)
        self._composition = options.composed(self._reactor)
        self._composition.setServiceParent(self)
        self._log_file: LogFile | None = None

    def setServiceParent(self, parent: Any) -> None:
        """Join twistd's application and give it the log observer, which it asks for next."""
        super().setServiceParent(parent)
        twistd: Any = self._options.parent or {}
        if twistd.get("logger") or twistd.get("syslog"):
            return  # the user chose twistd's own way
        stream = self._log_stream(twistd.get("logfile"), bool(twistd.get("nodaemon")))
        parent.setComponent(ILogObserver, make_observer(self._reactor, self._options.config.log, stream))

    def _log_stream(self, path: str | None, foreground: bool) -> TextIO:
        if foreground and path in (None, "", "-"):
            return sys.stdout
        if path == "-":
            sys.exit(f"{self._options.command}: --logfile=- needs --nodaemon")
        try:
            self._log_file = LogFile(Path(path or "twistd.log"))
        except OSError as problem:
            sys.exit(f"{self._options.command}: {path or 'twistd.log'}: cannot be opened: {problem.strerror}")
        return self._log_file.stream

    def startService(self) -> None:
        """Start every service, or end the process."""
        # First of all: it would end the process, and whoever sees a line of the log may send it.
        self._on_signal(signal.SIGHUP, self.refresh)
        _log.info(
            "{command} {version} with {config}",
            command=self._options.command,
            version=__version__,
            config=self._options["config"],
        )
        try:
            for concern in self._composition.concerns():
                _log.warn("{concern}", concern=concern)
            super().startService()
        except SuperEdgeError as problem:
            _log.critical("{command} cannot start: {problem}", command=self._options.command, problem=problem)
            if self._options.parent is not None and not self._options.parent.get("nodaemon"):
                raise  # twistd tells whoever waits for the daemon
            sys.exit(1)
        # Not before: the reactor takes it for itself as it begins to run.
        self._reactor.callWhenRunning(self._on_signal, signal.SIGTERM, self._stop)

    def _on_signal(self, number: signal.Signals, react: Callable[[], None]) -> None:
        signal.signal(number, lambda *_: self._reactor.callFromThread(react))

    def _stop(self) -> None:
        """Being told to stop is no failure: exit 0, where twistd would end itself by the signal."""
        with contextlib.suppress(ReactorNotRunning):  # told twice
            self._reactor.stop()
            _log.info("told to stop by SIGTERM")

    def refresh(self) -> None:
        """Take changed certificates into use now, and begin a log file that was moved away anew."""
        if self._log_file is not None:
            try:
                self._log_file.reopen()
            except OSError as problem:
                _log.error("the log file cannot be opened anew: {problem}", problem=problem)
        self._composition.watcher.check()
        _log.info("SIGHUP: looked at the certificates; a changed configuration needs a restart")
