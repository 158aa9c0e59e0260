"""Identities and authorities on disk."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.x509 import load_pem_x509_certificate
from prometheus_client import REGISTRY
from twisted.internet.task import Clock
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from superedge.errors import IdentityError
from superedge.tls.authority import Authority
from superedge.tls.contexts import ClientContextSource, ServerContextSource
from superedge.tls.identity import load_identity
from superedge.tls.reload import FileWatcher
from tests.events import logged


class IdentityTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.ca = Authority.create(self.directory)

    def test_name_is_the_common_name(self) -> None:
        pair = self.ca.issue("system:node:edge-1", ["system:nodes"], directory=self.directory)
        self.assertEqual(pair.name, "system:node:edge-1")
        self.assertEqual(load_identity(pair.certificate, pair.key), pair)
        self.assertEqual(stat.S_IMODE(pair.key.stat().st_mode), 0o600)

    def test_combined_file(self) -> None:
        pair = self.ca.issue("a", directory=self.directory)
        combined = self.directory / "combined.pem"
        combined.write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
        self.assertEqual(load_identity(combined, combined).name, "a")

    def test_unusable_files_are_named(self) -> None:
        one = self.ca.issue("one", directory=self.directory)
        two = self.ca.issue("two", directory=self.directory)
        garbage = self.directory / "garbage"
        garbage.write_text("no PEM here")
        for certificate, key, culprit, text in (
            (one.certificate, two.key, two.key, "is not the key of"),
            (garbage, one.key, garbage, "contains no PEM certificate"),
            (one.certificate, garbage, garbage, "private key"),
            (self.directory / "missing", one.key, self.directory / "missing", "cannot be read"),
        ):
            problem = self.assertRaises(IdentityError, load_identity, certificate, key)
            self.assertEqual(problem.path, culprit)
            self.assertIn(text, str(problem))

    def test_loaded_authority_issues_for_the_same_trust(self) -> None:
        again = Authority.load(self.directory)
        pair = again.issue("late", directory=self.directory)
        ClientContextSource([self.ca.path], pair.certificate, pair.key)
        self.assertEqual(again.path, self.ca.path)

    def test_what_is_made_is_good_for_a_clock_that_is_behind(self) -> None:
        behind = datetime.now(UTC) - timedelta(minutes=4)
        pair = self.ca.issue("a", directory=self.directory)
        for path in (self.ca.path, pair.certificate):
            self.assertLess(load_pem_x509_certificate(path.read_bytes()).not_valid_before_utc, behind)

    def test_server_that_wants_client_certificates_needs_a_ca(self) -> None:
        pair = self.ca.issue("s", directory=self.directory)
        self.assertRaises(ValueError, ServerContextSource, pair.certificate, pair.key, (), "required")


class WatcherTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.ca = Authority.create(self.directory)
        self.clock = Clock()
        self.watcher = FileWatcher(self.clock, interval=5)
        self.watcher.startService()
        self.addCleanup(self.watcher.stopService)

    def test_calls_back_once_a_change(self) -> None:
        file = self.directory / "file"
        calls: list[int] = []
        self.watcher.watch([file], lambda: calls.append(1))
        self.clock.advance(5)
        self.assertEqual(len(calls), 0)
        file.write_text("made")
        self.clock.advance(5)
        self.clock.advance(5)
        self.assertEqual(len(calls), 1)
        file.unlink()
        self.clock.advance(5)
        self.assertEqual(len(calls), 2)

    def test_one_failing_callback_does_not_stop_the_others(self) -> None:
        file = self.directory / "file"
        calls: list[int] = []
        self.watcher.watch([file], lambda: 1 / 0)
        self.watcher.watch([file], lambda: calls.append(1))
        file.write_text("made")
        self.clock.advance(5)
        self.assertEqual(len(calls), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_failing_callback_is_called_again_and_told_once(self) -> None:
        """The file may be good, and reading it have failed for want of a file descriptor."""
        file = self.directory / "file"
        problems = ["Too many open files", "Too many open files", ""]
        calls: list[str] = []

        def reload() -> None:
            calls.append(problems[len(calls)])
            if calls[-1]:
                raise IdentityError(file, calls[-1])

        self.watcher.watch([file], reload)
        events = logged(self)
        file.write_text("made")
        self.clock.pump([5] * 6)
        self.assertEqual(calls, problems)
        self.assertEqual(len([event for event in events if "kept what was" in str(formatEvent(event))]), 1)

    def test_a_check_that_fails_is_not_the_last(self) -> None:
        pair = self.ca.issue("s", directory=self.directory)
        source = ServerContextSource(pair.certificate, pair.key)
        looks: list[int] = []

        def broken() -> None:
            looks.append(1)
            raise OSError

        source.end_expired = broken  # type: ignore[method-assign]
        self.watcher.watch_context(source)
        self.clock.pump([5, 5])
        self.assertEqual((len(looks), len(self.flushLoggedErrors(OSError))), (2, 1))

    def test_its_end_is_a_metric_and_follows_the_file(self) -> None:
        pair = self.ca.issue("s", directory=self.directory, lifetime=timedelta(days=1))

        def end() -> float | None:
            name = "superedge_tls_certificate_expiry_timestamp_seconds"
            return REGISTRY.get_sample_value(name, {"path": str(pair.certificate)})

        self.watcher.watch_context(ServerContextSource(pair.certificate, pair.key))
        self.assertEqual(end(), pair.not_after.timestamp())
        later = self.ca.issue("s", directory=self.directory, lifetime=timedelta(days=2))
        self.clock.advance(5)
        self.assertEqual(end(), later.not_after.timestamp())

    def test_files_of_several_contexts_are_told_of_once(self) -> None:
        pair = self.ca.issue("s", directory=self.directory)
        self.watcher.watch_context(ServerContextSource(pair.certificate, pair.key, [self.ca.path]))
        self.watcher.watch_context(ClientContextSource([self.ca.path], pair.certificate, pair.key))
        events = logged(self)
        for _ in range(2):
            self.ca.issue("s", directory=self.directory)
            self.clock.advance(5)
        lines = [formatEvent(event) for event in events if "reloaded TLS" in str(formatEvent(event))]
        self.assertEqual(len(lines), 2, lines)

    def test_every_look_ends_what_has_expired(self) -> None:
        pair = self.ca.issue("s", directory=self.directory)
        source = ServerContextSource(pair.certificate, pair.key)
        looks: list[int] = []
        source.end_expired = lambda: looks.append(1)  # type: ignore[method-assign]
        self.watcher.watch_context(source)
        self.clock.pump([5, 5])
        self.assertEqual(len(looks), 2)

    def test_broken_pair_keeps_the_context_until_mended(self) -> None:
        pair = self.ca.issue("s", directory=self.directory)
        source = ServerContextSource(pair.certificate, pair.key)
        self.watcher.watch_context(source)
        before = source.current()
        good = pair.key.read_bytes()
        pair.key.write_text("half a ke")
        self.clock.advance(5)
        self.assertIs(source.current(), before)
        pair.key.write_bytes(good)
        self.clock.advance(5)
        self.assertIsNot(source.current(), before)
