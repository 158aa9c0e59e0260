"""kill -9 of lite-apiserver while much changes: what it shows offline afterwards was true at one moment."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from http.client import HTTPException
from pathlib import Path
from random import Random

from twisted.trial.unittest import SynchronousTestCase

from superedge.testing.contracts.client import Client, WatchStream
from superedge.tls.authority import Authority
from tests.faults.world import wait_until
from tests.liteapiserver.link import Link
from tests.liteapiserver.proxied import ProxiedServer
from tests.testing.server import EmbeddedServer

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
NAMES = 30
ROUNDS = 4


class Writer(threading.Thread):
    """Makes, changes and deletes objects as fast as it may."""

    def __init__(self, client: Client) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._random = Random(5)
        self.stopped = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.stopped.is_set():
            number += 1
            name = f"cm-{self._random.randrange(NAMES)}"
            body = {"metadata": {"name": name}, "data": {"number": str(number)}}
            if self._random.random() < 0.3:
                self._client.call("DELETE", f"{CONFIGMAPS}/{name}")
            elif self._client.call("POST", CONFIGMAPS, body).status == 409:
                self._client.call("PUT", f"{CONFIGMAPS}/{name}", body)
            time.sleep(0.002)


class Historian(threading.Thread):
    """Writes down every change, as the API server itself tells it."""

    def __init__(self, stream: WatchStream) -> None:
        super().__init__(daemon=True)
        self._stream = stream
        self.changes: list[tuple[int, str, bool]] = []

    def run(self) -> None:
        for kind, item in self._stream.rest():
            meta = item["metadata"]
            self.changes.append((int(meta["resourceVersion"]), meta["name"], kind != "DELETED"))

    def at(self, version: int) -> dict[str, int]:
        """What there was: versions by name."""
        found: dict[str, int] = {}
        for number, name, there in list(self.changes):
            if number > version:
                break
            if there:
                found[name] = number
            else:
                found.pop(name, None)
        return found


class Reader(threading.Thread):
    """Lists and watches through lite-apiserver, again whenever that ends."""

    def __init__(self, client: Client) -> None:
        super().__init__(daemon=True)
        self._client = client
        self.stopped = threading.Event()
        self.events = 0

    def run(self) -> None:
        while not self.stopped.is_set():
            with contextlib.suppress(OSError, HTTPException, ValueError):
                version = self._client.call("GET", CONFIGMAPS).json["metadata"]["resourceVersion"]
                with self._client.watch(CONFIGMAPS, resourceVersion=version, timeoutSeconds="1") as stream:
                    for _ in stream.rest():
                        self.events += 1
            time.sleep(0.02)


class CrashTests(SynchronousTestCase):
    store = "file"
    if os.environ.get("SUPEREDGE_CLUSTER_TESTS") != "1":
        skip = "set SUPEREDGE_CLUSTER_TESTS=1 to crash it again and again"

    def setUp(self) -> None:
        server = EmbeddedServer()
        self.addCleanup(server.stop)
        self.link = Link(server.url)
        self.addCleanup(self.link.cut)
        authority = Authority.load(server.directory / "pki")
        self.proxied = ProxiedServer(server, authority, self.link.url, self.store)
        self.addCleanup(self.proxied.stop)
        self.direct = server.client("admin", "system:masters")
        certificate, key = self.proxied.identity("admin", "system:masters")
        self.through = Client(self.proxied.url, server.ca, certificate, key)

    def verify(self) -> None:
        script = str(Path(sys.executable).with_name("superedge-cache"))
        arguments = ["verify", "--path", str(self.proxied.directory / "cache"), "--store", self.store]
        done = subprocess.run([script, *arguments], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_again_and_again(self) -> None:
        random = Random(9)
        stream = self.direct.watch(CONFIGMAPS, timeoutSeconds="300")
        historian, writer, reader = Historian(stream), Writer(self.direct), Reader(self.through)
        for thread in (historian, writer, reader):
            thread.start()
        self.addCleanup(reader.stopped.set)
        self.addCleanup(writer.stopped.set)
        versions = []
        for _ in range(ROUNDS):
            wanted = reader.events + random.randrange(20, 100)
            wait_until(lambda wanted=wanted: reader.events > wanted, "the reader is told")  # type: ignore[misc]
            self.proxied.crash()
            self.link.cut()
            self.verify()
            self.proxied.start()
            self.proxied.wait_until("offline")
            listed = self.through.call("GET", CONFIGMAPS).json
            version = int(listed["metadata"]["resourceVersion"])
            shown = {
                each["metadata"]["name"]: int(each["metadata"]["resourceVersion"]) for each in listed["items"]
            }
            self.assertEqual(shown, historian.at(version), f"at {version}")
            versions.append((version, historian.changes[-1][0]))
            self.link.restore()
            self.proxied.wait_until("online")
        sys.stdout.write(f"[versions shown, and last ones made: {versions}] ")


class SqliteCrashTests(CrashTests):
    store = "sqlite"
