"""The file with the key that encrypts stored tokens."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

from cryptography.fernet import Fernet
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from superedge.liteapiserver.access import tokenkey
from superedge.liteapiserver.access.seal import generate_key
from superedge.liteapiserver.access.tokenkey import TokenKey, read_key, write_key
from tests.events import logged


class KeyTests(SynchronousTestCase):
    def test_made_once_for_nobody_else(self) -> None:
        path = Path(self.mktemp()) / "token.key"
        self.assertIsNone(read_key(path))
        self.assertFalse(path.parent.exists())
        key = generate_key()
        write_key(path, key)
        self.assertEqual(read_key(path), key)
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)

    def test_others_may_no_longer_read_it(self) -> None:
        path = Path(self.mktemp())
        path.write_bytes(Fernet.generate_key())
        path.chmod(0o644)
        self.assertEqual(read_key(path), path.read_bytes())
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)

    def test_a_crash_while_it_is_made(self) -> None:
        path = Path(self.mktemp()) / "token.key"
        path.parent.mkdir(parents=True)
        path.with_name("token.key.new").write_bytes(b"half")
        self.assertIsNone(read_key(path))
        write_key(path, Fernet.generate_key())
        Fernet(read_key(path) or b"")
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)

    def test_a_disk_that_was_full(self) -> None:
        path, events = Path(self.mktemp()) / "token.key", logged(self)
        key = TokenKey(path)
        with mock.patch.object(tokenkey, "write_key", side_effect=OSError(28, "No space left on device")):
            key.keep()
            key.keep()
        self.assertEqual(len([each for each in events if "in memory only" in str(formatEvent(each))]), 1)
        key.keep()
        self.assertEqual(TokenKey(path).key, key.key)

    def test_one_that_was_removed(self) -> None:
        path = Path(self.mktemp()) / "token.key"
        key = TokenKey(path)
        key.keep()
        path.unlink()
        key.keep()
        self.assertEqual(TokenKey(path).key, key.key)
        path.unlink()
        path.parent.rmdir()
        key.keep()
        self.assertFalse(path.parent.exists(), "a lost directory is the store's business")
