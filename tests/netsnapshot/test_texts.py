"""The files of a snapshot: superedge-ipam's state while it is replaced."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from superedge.netsnapshot import texts
from superedge.netsnapshot.ipam.allocation import Table
from superedge.netsnapshot.ipam.files import Contents, dump

STATE = dump(Contents("edge", "node", Table())).decode()


class StateTests(SynchronousTestCase):
    def read(self, *found: str) -> dict[str, str]:
        """What is read when the file has these contents, one after the other."""
        directory, left = Path(self.mktemp()), list(found)
        (directory / "edge").mkdir(parents=True)

        def read_texts(paths: Iterable[Path], limit: int, faults: list[str]) -> dict[str, str]:
            return {str(path): left.pop(0) for path in paths}

        self.patch(texts, "read_texts", read_texts)
        self.addCleanup(self.assertEqual, left, [])
        return texts.read_ipam(directory, [])

    def test_one_that_is_written_into_is_read_again(self) -> None:
        self.assertEqual(self.read(STATE[:-3], STATE), {"edge": STATE})

    def test_a_pipe_in_its_place_is_not_waited_for(self) -> None:
        directory = Path(self.mktemp())
        (directory / "edge").mkdir(parents=True)
        os.mkfifo(directory / "edge" / "state")
        self.assertEqual(texts.read_ipam(directory, []), {"edge": ""})

    def test_one_that_is_torn_is_there(self) -> None:
        self.assertEqual(self.read("torn", "torn", "torn"), {"edge": "torn"})
