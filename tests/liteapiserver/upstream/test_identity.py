from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, cast

from prometheus_client import REGISTRY
from twisted.trial.unittest import SynchronousTestCase

from superedge.liteapiserver.upstream.identity import MIN_SCAN_INTERVAL, IdentityManager
from superedge.net.tlstransport import organizations_of
from superedge.tls.authority import Authority
from superedge.tls.contexts import ClientContextSource
from superedge.tls.identity import load_identity
from superedge.web.pool import Pool


class FakePool:
    def __init__(self, tls: ClientContextSource) -> None:
        self.tls = tls
        self.replaced = 0
        self.aborted = False

    def replace(self, bound: float) -> None:
        self.replaced += 1

    def abort(self) -> None:
        self.aborted = True


class IdentityTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.path.mkdir()
        self.authority = Authority.create(self.path / "ca", "test")
        self.pairs = self.path / "pairs"
        self.pairs.mkdir()

    def issue(self, name: str, groups: tuple[str, ...] = (), stem: str = "a") -> None:
        self.authority.issue(name, groups, directory=self.pairs, name=stem)

    def manager(self, *paths: Path) -> IdentityManager:
        def make(tls: ClientContextSource) -> Pool:
            return cast(Pool, FakePool(tls))

        return IdentityManager(paths or [self.pairs], [self.authority.path], make, 1.0)

    def pool(self, manager: IdentityManager, name: str) -> Any:
        found = manager.get(name)
        assert found is not None
        return found.pool

    def test_pairs_of_a_directory(self) -> None:
        self.issue("system:node:a", ("system:nodes",))
        self.issue("other", stem="b")
        (self.pairs / "notes.txt").write_text("nothing")
        manager = self.manager()
        self.assertEqual(manager.names, ["other", "system:node:a"])
        found = manager.get("system:node:a")
        assert found is not None
        self.assertEqual(found.identity.organizations, {"system:nodes"})

    def test_pairs_that_come_one_after_the_other_count_at_once(self) -> None:
        manager = self.manager()
        for now, name in ((0.0, "a"), (0.001, "b"), (0.002, "c")):
            self.assertIsNone(manager.find(name, now))
            self.issue(name, stem=name)
            self.assertIsNotNone(manager.find(name, now))

    def test_one_file_of_certificate_and_key(self) -> None:
        self.issue("system:node:a")
        combined = self.path / "kubelet-client-current.pem"
        combined.write_bytes((self.pairs / "a.crt").read_bytes() + (self.pairs / "a.key").read_bytes())
        self.assertEqual(self.manager(combined).names, ["system:node:a"])

    def test_a_directory_of_such_files(self) -> None:
        for name in ("a", "b"):
            self.issue(name, stem=name)
            parts = [(self.pairs / f"{name}.{kind}") for kind in ("crt", "key")]
            (self.pairs / f"{name}.pem").write_bytes(b"".join(part.read_bytes() for part in parts))
            for part in parts:
                part.unlink()
        (self.pairs / "alone.crt").write_text("its key is not there")
        manager = self.manager()
        self.assertEqual((manager.names, manager.faults), (["a", "b"], []))

    def test_a_stranger_is_looked_for_twice_a_second_at_most(self) -> None:
        self.issue("a")
        key = self.pairs / "a.key"
        good = key.read_bytes()
        key.write_bytes(b"no key")
        manager = self.manager()
        self.assertIsNone(manager.find("a", 7.0))
        key.write_bytes(good)
        self.assertIsNone(manager.find("a", 7.0 + MIN_SCAN_INTERVAL - 0.01))
        self.assertIsNotNone(manager.find("a", 7.0 + MIN_SCAN_INTERVAL))

    def test_a_ca_is_nobody(self) -> None:
        self.assertEqual(self.manager(self.path / "ca").names, [])

    def test_a_pair_that_comes_later(self) -> None:
        manager = self.manager()
        self.assertIsNone(manager.get("a"))
        self.issue("a")
        manager.check()
        self.assertEqual(manager.names, ["a"])

    def test_a_new_certificate_replaces_connections(self) -> None:
        self.issue("a")
        manager = self.manager()
        pool, context = self.pool(manager, "a"), self.pool(manager, "a").tls.current()
        manager.check()
        self.assertEqual(pool.replaced, 0)
        self.issue("a", ("group",))
        manager.check()
        self.assertEqual(pool.replaced, 1)
        self.assertIsNot(pool.tls.current(), context)
        found = manager.get("a")
        assert found is not None
        self.assertEqual(found.identity.organizations, {"group"})

    def test_a_broken_pair_leaves_the_old_in_use(self) -> None:
        self.issue("a")
        manager = self.manager()
        context = self.pool(manager, "a").tls.current()
        key = (self.pairs / "a.key").read_bytes()
        (self.pairs / "a.key").write_bytes(b"no key")
        manager.check()
        self.assertEqual(manager.names, ["a"])
        self.assertIs(self.pool(manager, "a").tls.current(), context)
        self.assertIn("a.key", manager.faults[0])
        (self.pairs / "a.key").write_bytes(key)
        manager.check()
        self.assertEqual(manager.faults, [])

    def test_a_pair_that_is_removed(self) -> None:
        self.issue("a")
        manager = self.manager()
        pool = self.pool(manager, "a")
        end = "superedge_tls_certificate_expiry_timestamp_seconds", {"path": str(self.pairs / "a.crt")}
        self.assertIsNotNone(REGISTRY.get_sample_value(*end))
        (self.pairs / "a.crt").unlink()
        manager.check()
        self.assertEqual(manager.names, [])
        self.assertTrue(pool.aborted)
        self.assertIsNone(REGISTRY.get_sample_value(*end))

    def test_a_pair_that_is_somebody_else_now(self) -> None:
        self.issue("a")
        manager = self.manager()
        self.issue("b")
        manager.check()
        self.assertEqual(manager.names, ["b"])

    def test_two_pairs_of_one_name(self) -> None:
        self.issue("a")
        self.issue("a", stem="b")
        manager = self.manager()
        self.assertEqual(manager.names, ["a"])
        self.assertEqual(len(manager.faults), 1)

    def test_a_file_that_is_not_there_yet(self) -> None:
        manager = self.manager(self.path / "later.pem", self.path / "later")
        self.assertEqual(len(manager.faults), 2)
        self.issue("a")
        shutil.copytree(self.pairs, self.path / "later")
        manager.check()
        self.assertEqual(manager.names, ["a"])

    def test_groups(self) -> None:
        self.issue("a", ("one", "two"))
        identity = load_identity(self.pairs / "a.crt", self.pairs / "a.key")
        self.assertEqual(identity.organizations, {"one", "two"})
        peer: dict[str, object] = {
            "subject": (
                (("organizationName", "one"),),
                (("organizationName", "two"),),
                (("commonName", "a"),),
            )
        }
        self.assertEqual(organizations_of(peer), ["one", "two"])
        self.assertEqual(organizations_of({}), [])
