"""kill -9 at random instants: what was acknowledged is there, batches are whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from superedge.liteapiserver.stores.file import FileStore
from superedge.liteapiserver.stores.sqlite import SqliteStore
from superedge.liteapiserver.stores.threads import BlockingStore

ROUNDS = int(os.environ.get("SUPEREDGE_CRASH_ROUNDS", "6"))
RECORDS = 5

WRITER = f"""
import sys
from pathlib import Path
from superedge.interfaces import Change
from superedge.liteapiserver.stores.file import FileStore
from superedge.liteapiserver.stores.sqlite import SqliteStore
kind, path, first = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
store = FileStore(path, journal_limit=20_000) if kind == "file" else SqliteStore(path)
store.load()
for number in range(first, first + 100_000):
    value = b"%d" % number * 100
    store.apply([Change("object", ("record", str(each)), value) for each in range({RECORDS})])
    sys.stdout.write(f"{{number}}\\n")
    sys.stdout.flush()
"""


class CrashTests(SynchronousTestCase):
    def open(self, kind: str, path: Path) -> BlockingStore:
        return FileStore(path) if kind == "file" else SqliteStore(path)

    def crash(self, kind: str) -> None:
        path = Path(self.mktemp())
        chance = random.Random(kind)
        first = 1
        for _ in range(ROUNDS):
            process = subprocess.Popen(
                [sys.executable, "-c", WRITER, kind, str(path), str(first)], stdout=subprocess.PIPE
            )
            assert process.stdout is not None
            for _ in range(chance.randint(1, 60)):
                acknowledged = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().split()
            process.stdout.close()
            process.wait()
            acknowledged = int(rest[-1]) if rest else acknowledged
            store = self.open(kind, path)
            values = {entry.value for entry in store.load()}
            store.close()
            self.assertEqual(len(values), 1, "a batch is torn")
            found = int(values.pop()[: len(str(acknowledged))])
            self.assertIn(found, (acknowledged, acknowledged + 1))
            first = found + 1

    def test_file(self) -> None:
        self.crash("file")

    def test_sqlite(self) -> None:
        self.crash("sqlite")
