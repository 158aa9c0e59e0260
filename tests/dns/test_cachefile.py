"""Answers of upstream servers outlive a restart."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.localdns import CacheConfig
from superedge.dns import cachefile
from superedge.dns.cachefile import INTERVAL, CacheFile
from superedge.dns.ports import ForwardError
from superedge.dns.resolvers.cache import STALE_TTL, CacheResolver
from superedge.dns.snapshot import read_answers
from superedge.interfaces import Answer
from tests.dns.asking import question, read
from tests.dns.test_cache import Next, fail
from tests.dns.threads import Threads
from tests.events import logged


class CacheFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="superedge-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.path = self.directory / "state" / "dns-cache.snapshot"
        self.now = 1_000_000.0
        self.patch(cachefile, "time", lambda: self.now + self.clock.seconds())
        self.boot()

    def boot(self, **options: Any) -> None:
        """A new process on a machine that may have been off."""
        self.clock = Clock()
        self.threads = Threads(self.clock)
        self.following = Next(self.clock)
        self.cache = CacheResolver(cast(Any, self.clock), CacheConfig(**options), cast(Any, self.following))
        self.file = CacheFile(cast(Any, self.threads), self.cache, self.path)
        self.file.startService()
        self.addCleanup(lambda: self.file.running and self.file.stopService())

    def begin(self, name: str) -> Deferred[Answer]:
        return Deferred.fromCoroutine(self.cache.resolve(question(name)))

    def ask(self, name: str = "a.example") -> tuple[str, int]:
        (record,) = read(question(name), self.successResultOf(self.begin(name))).rr
        return str(record.rdata), record.ttl

    def test_stale_answers_after_a_restart_without_upstream_servers(self) -> None:
        self.ask()
        self.file.stopService()
        self.now += 1000
        self.boot()
        self.following.mode = fail
        self.assertEqual(self.ask(), ("192.0.2.0", STALE_TTL))
        self.failureResultOf(self.begin("b.example"), ForwardError)

    def test_an_upstream_server_is_asked_first(self) -> None:
        self.ask()
        self.file.stopService()
        self.boot()
        self.clock.advance(7)
        self.assertEqual(self.ask(), ("192.0.2.7", 60))

    def test_what_is_too_old_is_not_given(self) -> None:
        for off, there in ((3600 + 59, True), (3600 + 61, False)):
            self.boot(stale=3600.0)
            self.ask()
            self.file.stopService()
            self.now += off
            self.boot(stale=3600.0)
            self.following.mode = fail
            if there:
                self.ask()
            else:
                self.failureResultOf(self.begin("a.example"), ForwardError)

    def test_a_machine_that_does_not_know_the_time(self) -> None:
        self.ask()
        self.file.stopService()
        self.now = 0.0
        self.boot()
        self.following.mode = fail
        self.clock.advance(100)
        self.assertEqual(self.ask(), ("192.0.2.0", STALE_TTL))

    def test_it_is_written_now_and_then_when_something_changed(self) -> None:
        self.ask()
        self.clock.advance(INTERVAL - 1)
        self.assertFalse(self.path.exists())
        self.clock.advance(1)
        self.assertEqual(len(read_answers(self.path)), 1)
        self.path.unlink()
        self.clock.advance(INTERVAL)
        self.file.stopService()
        self.assertFalse(self.path.exists(), "nothing is new")

    def test_the_end_waits_for_a_slow_disk(self) -> None:
        self.threads.slow = True
        self.ask()
        self.clock.advance(INTERVAL)
        self.ask("b.example")
        ended = self.file.stopService()
        assert ended is not None
        self.assertNoResult(ended)
        self.threads.finish()
        self.assertEqual(len(read_answers(self.path)), 2)

    def test_what_was_asked_for_last_is_kept_when_there_is_too_much(self) -> None:
        self.patch(cachefile, "MAX_BYTES", 150)
        for name in ("a.example", "b.example", "c.example", "a.example"):
            self.ask(name)
        self.file.stopService()
        self.assertEqual(
            [each.name for each in read_answers(self.path)], [b"\1a\7example\0", b"\1c\7example\0"]
        )
        self.assertLess(self.path.stat().st_size, 250)

    def test_a_damaged_file_is_as_none(self) -> None:
        self.ask()
        self.file.stopService()
        self.path.write_bytes(self.path.read_bytes()[:-1])
        events = logged(self)
        self.boot()
        self.assertIn("damaged", str(events[-1]["problem"]))
        self.assertEqual(len(self.cache), 0)

    def test_a_disk_that_cannot_be_written_is_tried_again(self) -> None:
        self.path.parent.write_text("a file where the directory should be")
        events = logged(self)
        self.ask()
        self.clock.advance(INTERVAL)
        self.clock.advance(INTERVAL)
        self.assertEqual(len([each for each in events if each.get("path") == self.path]), 1)
        self.path.parent.unlink()
        self.clock.advance(INTERVAL)
        self.assertEqual(len(read_answers(self.path)), 1)
