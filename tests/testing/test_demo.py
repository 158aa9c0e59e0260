"""The demo leaves nothing behind."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from superedge.testing.demo import __main__ as demo
from superedge.testing.demo.steps import console


class EndTests(SynchronousTestCase):
    def test_whatever_ends_it_ends_its_processes(self) -> None:
        directory = Path(self.mktemp()).absolute()
        self.patch(sys, "argv", ["demo"])
        self.patch(demo, "find_kubectl", lambda: None)
        self.patch(tempfile, "mkdtemp", lambda prefix: str(directory))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
            # As a shell without job control and nohup start it.
            signal.signal(number, signal.SIG_IGN)
            stage = mock.Mock()

            def play(_: Any, number: int = number) -> None:
                os.kill(os.getpid(), number)
                self.fail("it goes on")

            self.patch(demo, "Stage", lambda directory, stage=stage: stage)
            self.patch(demo, "play", play)
            with mock.patch.object(console, "print"):
                self.assertRaises(SystemExit, demo.main)
            stage.stop_all.assert_called_once_with()
