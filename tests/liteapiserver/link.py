"""The link between a lite-apiserver process and its API server, to be cut and restored."""

from __future__ import annotations

import socket
import subprocess
import sys
import time

from superedge.testing.ports import free_port


class Link:
    """A relay process in front of ``url``, an https URL on loopback; ``self.url`` leads through it."""

    def __init__(self, url: str) -> None:
        self._target = url.rpartition(":")[2]
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self.restore()

    def cut(self) -> None:
        """Pull the cable: connections break, new ones are refused."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def restore(self) -> None:
        """Plug it in again."""
        command = [sys.executable, "-m", "superedge.testing.link", f"{self.port}:{self._target}"]
        self._process = subprocess.Popen(command)
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
            else:
                return
