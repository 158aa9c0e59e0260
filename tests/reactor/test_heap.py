"""Memory that was freed is used again."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase


class HeapTests(SynchronousTestCase):
    def test_freed_memory_is_not_fetched_from_the_system_again(self) -> None:
        script = """
from resource import RUSAGE_SELF, getrusage
from superedge.reactor.heap import keep_freed_memory
keep_freed_memory()
def fill():
    blocks = [b"x" * 100_000 for _ in range(20)]
fill()
before = getrusage(RUSAGE_SELF).ru_minflt
for _ in range(20):
    fill()
pages = getrusage(RUSAGE_SELF).ru_minflt - before
assert pages < 1000, pages
"""
        subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
