from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from superedge.liteapiserver import memory
from superedge.liteapiserver.memory import QUIET, Memory


class MemoryTests(SynchronousTestCase):
    def test_given_back_once_after_each_burst(self) -> None:
        calls: list[int] = []
        self.patch(memory, "_trim", calls.append)
        it = Memory()
        for taken, given_back in ((0, 1), (7, 2)):
            for _ in range(QUIET - 1):
                it.look(taken)
            self.assertEqual(len(calls), given_back - 1)
            for _ in range(QUIET * 3):
                it.look(taken)
            self.assertEqual(len(calls), given_back)
