"""Many clients of one identity while much changes, outages and kill -9: what is shown offline was true."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from superedge.testing.contracts.client import PARTIAL_LIST, TABLE, Answer, Client, WatchStream
from tests.faults.linked import LinkedCase
from tests.faults.world import wait_until

CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
JSON = "application/json"
NAMES = 40
ROUNDS = 3
EVENTS = (10, 60)


class Question(NamedTuple):
    """A list, and the watch that goes on from it; ``label`` is the one it selects."""

    accept: str = JSON
    label: str = ""

    @property
    def query(self) -> dict[str, str]:
        return {"labelSelector": f"app={self.label}"} if self.label else {}


WATCHED = (Question(), Question(), Question(label="a"), Question(TABLE), Question(PARTIAL_LIST))
SHOWN = {*WATCHED, Question(label="b")}


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
            labels = {"app": self._random.choice("ab")}
            body = {"metadata": {"name": name, "labels": labels}, "data": {"number": str(number)}}
            if self._random.random() < 0.3:
                self._client.call("DELETE", f"{CONFIGMAPS}/{name}")
            elif self._client.call("POST", CONFIGMAPS, body).status == 409:
                self._client.call("PUT", f"{CONFIGMAPS}/{name}", body)
            time.sleep(0.001)


class Historian(threading.Thread):
    """Writes down every change, as the API server itself tells it."""

    def __init__(self, stream: WatchStream) -> None:
        super().__init__(daemon=True)
        self._stream = stream
        self.changes: list[tuple[int, str, str]] = []
        """Version, name and label, which is empty for a deletion."""

    def run(self) -> None:
        for kind, item in self._stream.rest():
            meta = item["metadata"]
            label = "" if kind == "DELETED" else meta["labels"]["app"]
            self.changes.append((int(meta["resourceVersion"]), meta["name"], label))

    def at(self, version: int, label: str) -> dict[str, int]:
        """What there was: versions by name."""
        found: dict[str, int] = {}
        for number, name, app in list(self.changes):
            if number > version:
                break
            if app and label in ("", app):
                found[name] = number
            else:
                found.pop(name, None)
        return found

    def since(self, version: int) -> set[str]:
        """The names of what changed after a version."""
        return {name for number, name, _ in list(self.changes) if number > version}


class Reader(threading.Thread):
    """Does the same thing again and again; ``count`` is what it was told."""

    def __init__(self, read: Callable[[Reader], None]) -> None:
        super().__init__(daemon=True)
        self._read = read
        self.random = Random(7)
        self.stopped = threading.Event()
        self.count = 0

    def run(self) -> None:
        while not self.stopped.is_set():
            with contextlib.suppress(OSError, HTTPException, ValueError, KeyError):
                self._read(self)
            time.sleep(0.02)

    def follow(self, stream: WatchStream) -> None:
        """Count events until the watch ends."""
        with stream:
            for _ in stream.rest():
                self.count += 1


class CrashTests(LinkedCase):
    def setUp(self) -> None:
        super().setUp()
        certificate, key = self.proxied.identity("admin", "system:masters")
        self.through = Client(self.proxied.url, self.server.ca, certificate, key)
        self.historian = Historian(self.direct.watch(CONFIGMAPS, timeoutSeconds="300"))
        self.writer = Writer(self.direct)
        self.readers = [Reader(self.watch(question)) for question in WATCHED]
        self.readers += [Reader(self.watch_list), Reader(self.pages), Reader(self.objects)]
        for thread in (self.historian, self.writer, *self.readers):
            thread.start()
        self.addCleanup(self.writer.stopped.set)
        for reader in self.readers:
            self.addCleanup(reader.stopped.set)

    # -- what readers do

    def ask(self, question: Question, **query: Any) -> Answer:
        query |= question.query
        return self.through.call("GET", CONFIGMAPS, accept=question.accept, **query)

    def watch(self, question: Question) -> Callable[[Reader], None]:
        def read(reader: Reader) -> None:
            options: dict[str, Any] = {"allowWatchBookmarks": "true", **question.query}
            options["resourceVersion"] = self.ask(question).json["metadata"]["resourceVersion"]
            options["timeoutSeconds"] = str(reader.random.choice((1, 2, 4)))
            accept = question.accept.replace("MetadataList", "Metadata")
            reader.follow(self.through.watch(CONFIGMAPS, accept=accept, **options))

        return read

    def watch_list(self, reader: Reader) -> None:
        options = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        options |= {"allowWatchBookmarks": "true", "timeoutSeconds": "2"}
        reader.follow(self.through.watch(CONFIGMAPS, **options))

    def pages(self, reader: Reader) -> None:
        token = self.ask(Question(), limit="9").json["metadata"].get("continue")
        while token:
            reader.count += 1
            token = self.ask(Question(), limit="9", **{"continue": token}).json["metadata"].get("continue")

    def objects(self, reader: Reader) -> None:
        self.through.call("GET", f"{CONFIGMAPS}/cm-{reader.random.randrange(NAMES)}")
        reader.count += 1

    # -- what is true

    def check(self, question: Question) -> None:
        """A list shows what was there at its version, or later states of single objects."""
        answer = self.ask(question)
        self.assertEqual(answer.status, 200, question)
        self.assertIn("110", answer.headers["warning"])
        body = answer.json
        items = [row["object"] for row in body["rows"]] if body["kind"] == "Table" else body["items"]
        metas = [item["metadata"] for item in items]
        shown = {meta["name"]: int(meta["resourceVersion"]) for meta in metas}
        version = int(body["metadata"]["resourceVersion"])
        truth = self.historian.at(version, question.label)
        differ = {name for name in shown.keys() | truth.keys() if shown.get(name) != truth.get(name)}
        self.assertLessEqual(differ, self.historian.since(version), f"{question} at {version}")
        later = {(name, shown[name]) for name in differ & shown.keys()}
        self.assertLessEqual(later, {(name, number) for number, name, _ in self.historian.changes})

    def verify(self) -> None:
        script = str(Path(sys.executable).with_name("superedge-cache"))
        arguments = ["verify", "--path", str(self.proxied.directory / "cache"), "--store", self.store]
        done = subprocess.run([script, *arguments], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_again_and_again(self) -> None:
        random = Random(9)
        for number in range(ROUNDS):
            wanted = [(reader, reader.count + random.randrange(*EVENTS)) for reader in self.readers]
            for reader, count in wanted:
                wait_until(lambda: reader.count > count, "every reader is told")  # noqa: B023
            crash = number % 2 == 0
            if crash:
                self.proxied.crash()
            self.link.cut()
            if crash:
                self.verify()
                self.proxied.start()
            self.proxied.wait_until("offline")
            for question in SHOWN:
                self.check(question)
            self.link.restore()
            self.proxied.wait_until("online")


class SqliteCrashTests(CrashTests):
    store = "sqlite"
