"""Files that can be used and will not do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from superedge.tls.authority import Authority
from superedge.tls.warnings import authority_warnings, pair_warnings, secret_warnings

BEGIN = datetime(2031, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


class ConcernTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.authority = Authority.create(self.path)
        self.authority.issue("a", directory=self.path, not_before=BEGIN, lifetime=DAY)
        self.pair = self.path / "a.crt", self.path / "a.key"

    def test_dates(self) -> None:
        self.assertEqual(list(pair_warnings(*self.pair, BEGIN)), [])
        self.assertEqual(list(pair_warnings(*self.pair, BEGIN + DAY)), [])
        (late,) = pair_warnings(*self.pair, BEGIN + DAY + timedelta(seconds=1))
        self.assertEqual(late.text, f"{self.pair[0]}: expired at 2031-01-02T00:00:00Z: peers will refuse it")
        (early,) = pair_warnings(*self.pair, BEGIN - timedelta(seconds=1))
        self.assertIn("is not valid before 2031-01-01T00:00:00Z, by this machine's clock", early.text)

    def test_who_may_read_a_key(self) -> None:
        for mode, wrong in ((0o600, False), (0o640, False), (0o440, False), (0o644, True), (0o602, True)):
            self.pair[1].chmod(mode)
            found = list(pair_warnings(*self.pair, BEGIN))
            self.assertEqual(len(found), wrong, found)
        self.assertIn(f"{self.pair[1]}: every user of this machine can read it (mode 0602)", found[0].text)

    def test_authorities(self) -> None:
        now = datetime.now(UTC)
        self.assertEqual(list(authority_warnings(self.authority.path, now)), [])
        (late,) = authority_warnings(self.authority.path, now + 10_000 * DAY)
        self.assertIn("no certificate that it signed is accepted", late.text)
        (leaf,) = authority_warnings(self.pair[0], now)
        self.assertIn("contains no CA certificate", leaf.text)

    def test_one_good_authority_of_a_file_is_enough(self) -> None:
        newer = Authority.create(self.path / "new")
        both = self.path / "both.crt"
        both.write_bytes(self.authority.path.read_bytes() + newer.path.read_bytes())
        self.assertEqual(list(authority_warnings(both, datetime.now(UTC))), [])

    def test_what_cannot_be_read_is_said_where_it_is_used(self) -> None:
        none = self.path / "none"
        for found in (
            pair_warnings(none, none, BEGIN),
            authority_warnings(none, BEGIN),
            secret_warnings(none),
        ):
            self.assertEqual(list(found), [])
