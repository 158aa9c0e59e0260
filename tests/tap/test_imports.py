"""What a process loads costs memory on every node."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

PROGRAM = """
import sys
sys.modules["OpenSSL"] = None  # Twisted would take it where it is installed
import superedge.tap.edge, superedge.tap.compose, superedge.liteapiserver.service
from superedge.liteapiserver.stores import file, sqlite
heavy = {"cryptography", "klein", "twisted.web", "kubernetes", "dnslib", "rich", "hypothesis"}
print(sorted(heavy & set(sys.modules)))
"""


class ImportTests(SynchronousTestCase):
    def test_lite_apiserver_stays_small(self) -> None:
        done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout.strip(), "[]")
