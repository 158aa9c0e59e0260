"""A lite-apiserver process in front of an API server that a contract suite already knows."""

from __future__ import annotations

import atexit
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from superedge.errors import SuperEdgeError
from superedge.testing.contracts.case import ContractServer
from superedge.testing.ports import free_port
from superedge.tls.authority import Authority


class ProxiedServer(ContractServer):
    """``server`` seen through `twistd superedge-edge`, until the test run ends.

    ``way`` is a URL by which the server is reached when it is not the server's own.
    """

    def __init__(
        self, server: ContractServer, authority: Authority, way: str = "", store: str = "file"
    ) -> None:
        self._server = server
        self.ca = server.ca
        self.directory = Path(tempfile.mkdtemp(prefix="superedge-proxied-"))
        self._identities = self.directory / "identities"
        self._identities.mkdir()
        pair = authority.issue("lite-apiserver", ips=["127.0.0.1"], directory=self.directory)
        port, ops = free_port(), free_port()
        self.url = f"https://127.0.0.1:{port}"
        config = self.directory / "edge.toml"
        config.write_text(f"""[ops]
listen = "127.0.0.1:{ops}"
[lite_apiserver]
listen = ["127.0.0.1:{port}"]
certificate = "{pair.certificate}"
key = "{pair.key}"
client_ca = ["{server.ca}"]
identities = ["identities"]
[lite_apiserver.upstream]
servers = ["{(way or server.url).removeprefix("https://")}"]
ca = ["{server.ca}"]
probe_interval = 0.5
probe_timeout = 10.0
connect_timeout = 10.0
[lite_apiserver.cache]
store = "{store}"
path = "cache"
""")
        self._config = config
        self._status = f"http://127.0.0.1:{ops}/superedge/status"
        atexit.register(self.stop)
        self.start()
        self.wait_until("online")

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def start(self) -> None:
        """Start the process."""
        twistd = str(Path(sys.executable).with_name("twistd"))
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [twistd, "--nodaemon", "--pidfile=", "superedge-edge", "--config", str(self._config)],
                stdout=log,
                stderr=log,
            )

    def crash(self) -> None:
        """End the process as a power cut does."""
        self._process.kill()
        self._process.wait()

    def status(self) -> dict[str, Any]:
        """The status page; empty while it does not answer."""
        try:
            with urllib.request.urlopen(self._status, timeout=2) as answer:
                found: dict[str, Any] = json.load(answer)["lite_apiserver"]
                return found
        except OSError:
            return {}

    def wait_until(self, state: str, seconds: float = 60.0) -> None:
        """Until it is online or offline. Raises SuperEdgeError with its log."""
        end = time.monotonic() + seconds
        while self.status().get("state") != state:
            if time.monotonic() > end:
                raise SuperEdgeError((self.directory / "log").read_text())
            time.sleep(0.02)

    def identity(self, common_name: str, organization: str) -> tuple[Path, Path]:
        """A pair that lite-apiserver has, too."""
        pair = self._server.identity(common_name, organization)
        for path in pair:
            if not (self._identities / path.name).exists():
                aside = self._identities / f"{path.name}.new"
                shutil.copy(path, aside)
                aside.rename(self._identities / path.name)
        return pair

    def compact(self) -> None:
        """Make the API server forget its history; that may restart it."""
        self._server.compact()
        self.wait_until("online")

    def stop(self) -> None:
        """End the process."""
        atexit.unregister(self.stop)
        self._process.terminate()
        self._process.wait(20)
        shutil.rmtree(self.directory, ignore_errors=True)
