"""An embedded cluster in a process of its own, shared by the tests of one run."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from superedge.testing.contracts.case import ContractServer
from superedge.tls.authority import Authority


class EmbeddedServer(ContractServer):
    """``python -m superedge.testing``, until the test run ends."""

    def __init__(self, *arguments: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="superedge-embedded-"))
        command = [sys.executable, "-m", "superedge.testing", "--directory", str(self.directory), *arguments]
        with (self.directory / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        atexit.register(self.stop)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError((self.directory / "log").read_text())
        ready = json.loads(line)
        self.url = ready["server"]
        self.kubeconfig = Path(ready["kubeconfig"])
        self.ca = self.directory / "pki" / "ca.crt"
        self._authority = Authority.load(self.directory / "pki")
        self._pairs: dict[str, tuple[Path, Path]] = {}

    def identity(self, common_name: str, organization: str) -> tuple[Path, Path]:
        if common_name not in self._pairs:
            name = f"client-{len(self._pairs)}"
            made = self._authority.issue(common_name, [organization], directory=self.directory, name=name)
            self._pairs[common_name] = made.certificate, made.key
        return self._pairs[common_name]

    def compact(self) -> None:
        os.kill(self._process.pid, signal.SIGUSR1)

    def stop(self) -> None:
        atexit.unregister(self.stop)
        self._process.terminate()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()
        shutil.rmtree(self.directory, ignore_errors=True)


@cache
def shared() -> EmbeddedServer:
    """The one server that tests share; each works in a namespace of its own."""
    return EmbeddedServer()
