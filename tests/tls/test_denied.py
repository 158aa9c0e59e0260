"""Certificates that are not taken any more."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.errors import IdentityError
from superedge.tls.denied import DenyList
from superedge.tls.reload import FileWatcher


class Peer:
    """A connection whose peer has shown a certificate."""

    def __init__(self, name: str | None, serial: str = "01") -> None:
        self.peer_common_name = name
        self.peer_certificate: dict[str, Any] = {"serialNumber": serial} if name else {}
        self.aborted = False

    def abortConnection(self, reason: str) -> None:
        self.aborted = bool(reason)


class DenyListTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.write_text("# stolen\nserial 0a:FF  # edge-3\nname edge-1\n\nname two words\n")
        self.denied = DenyList(self.path)

    def test_who_is_denied(self) -> None:
        for peer, admitted in (
            (Peer("edge-2"), True),
            (Peer("edge-1"), False),
            (Peer("system:node:edge-1"), False),
            (Peer("two words"), False),
            (Peer("edge-3", "0AFF"), False),
            (Peer("edge-3", "AFF"), False),
            (Peer("edge-3", "0B00"), True),
            (Peer("EDGE-1"), True),
            (Peer(None), True),
        ):
            self.assertEqual(self.denied.admit(peer), admitted, vars(peer))

    def test_a_change_ends_what_is_open_within_seconds(self) -> None:
        clock = Clock()
        watcher = FileWatcher(clock)
        watcher.watch([self.path], self.denied.reload)
        watcher.startService()
        self.addCleanup(watcher.stopService)
        peers = [Peer("edge-4", "04"), Peer("system:node:edge-5", "05"), Peer("edge-6", "06")]
        for peer in peers:
            self.assertTrue(self.denied.admit(peer))
        self.write("name edge-5\nserial 4\n")
        clock.advance(5)
        self.assertEqual([peer.aborted for peer in peers], [True, True, False])
        self.assertFalse(self.denied.admit(Peer("edge-5")))
        self.assertTrue(self.denied.admit(Peer("edge-1")), "who is on the list no more")

    def write(self, text: str) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(text)
        os.replace(new, self.path)

    def test_a_file_that_cannot_be_read_changes_nothing(self) -> None:
        for text in ("serial xyz\n", "edge-7\n", "name\n", "serial\n"):
            self.write(text)
            problem = self.assertRaises(IdentityError, self.denied.reload)
            self.assertIn("line 1", str(problem))
            self.assertRaises(IdentityError, DenyList, self.path)
        self.path.unlink()
        self.assertRaises(IdentityError, self.denied.reload)
        self.assertFalse(self.denied.admit(Peer("edge-1")))

    def test_who_is_gone_is_kept_nowhere(self) -> None:
        self.denied.admit(Peer("edge-4"))
        self.assertEqual(len(self.denied._admitted), 0)
