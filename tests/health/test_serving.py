"""The webhook's certificate in the cluster: what others overwrite is put back."""

from __future__ import annotations

import json
import ssl
from base64 import b64decode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from errno import ENOSPC
from pathlib import Path
from typing import Any, cast
from unittest import mock

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.health.cloud.admission import serving
from superedge.health.cloud.admission.serving import LIFETIME, LOOK, SOON, ServingCertificate, make_pair
from superedge.kube.client import IKubeClient
from superedge.kube.errors import APIError
from superedge.tls.authority import Authority


class Cluster:
    """One Secret, and a configuration with two webhooks."""

    def __init__(self) -> None:
        self.secret: dict[str, Any] | None = None
        self.bundles = ["", ""]
        self.version = 1
        self.writes = 0
        self.conflicts = 0

    async def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> bytes:
        self.writes += method != "GET"
        if "/secrets" in path:
            if method != "GET":
                self.secret = body
            if self.secret is None:
                raise APIError(404, "NotFound", "no such Secret")
            return json.dumps({"metadata": {"resourceVersion": "1"}, **self.secret}).encode()
        if method == "PATCH":
            test, *changes = body
            if self.conflicts or test["value"] != str(self.version):
                self.conflicts -= 1
                raise APIError(422, "Invalid", "the test operation failed")
            self.version += 1
            for change in changes:
                self.bundles[int(change["path"].split("/")[2])] = change["value"]
        hooks = [{"name": "a", "clientConfig": {"caBundle": each}} for each in self.bundles]
        return json.dumps({"metadata": {"resourceVersion": str(self.version)}, "webhooks": hooks}).encode()


NAMES = ["keep.superedge.svc"]


class PairTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = datetime.now(UTC)
        self.made = make_pair(NAMES, None, self.now)

    def test_a_ca_of_a_clock_that_was_ahead_is_replaced(self) -> None:
        before = self.now - timedelta(hours=6)
        directory = Path(self.mktemp())
        directory.mkdir()
        (directory / "ca.crt").write_bytes(self.made.authorities)
        (directory / "ca.key").write_bytes(self.made.authority_key)
        leaf = Authority.load(directory).issue(
            NAMES[0], dns=NAMES, directory=directory, not_before=before, lifetime=LIFETIME
        )
        pair = self.made._replace(certificate=leaf.certificate.read_bytes(), key=leaf.key.read_bytes())
        self.assertTrue(pair.good(NAMES, self.now))
        self.assertFalse(pair.good(NAMES, before), "its CA is not valid yet")
        self.assertNotEqual(make_pair(NAMES, pair, before).authority_key, pair.authority_key)
        self.assertEqual(make_pair(NAMES, pair, self.now).authority_key, pair.authority_key)

    def test_a_bundle_that_cannot_be_read_is_left_behind(self) -> None:
        block = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        damaged = self.made._replace(authorities=self.made.authorities + block)
        self.assertFalse(damaged.good(NAMES, self.now))
        self.assertTrue(make_pair(NAMES, damaged, self.now).good(NAMES, self.now))


class ServingCertificateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.cluster = Clock(), Cluster()
        self.used: list[ssl.SSLContext] = []
        service = ServingCertificate(
            self.clock, cast(IKubeClient, self.cluster), "superedge", NAMES, self.used.append
        )
        service.startService()
        self.addCleanup(service.stopService)
        assert self.cluster.secret is not None
        self.bundle = self.cluster.secret["data"]["ca.crt"]

    def test_nothing_is_written_while_nothing_changes(self) -> None:
        self.assertEqual(self.cluster.bundles, [self.bundle] * 2)
        self.assertIn(b"BEGIN CERTIFICATE", b64decode(self.bundle))
        before = self.cluster.writes
        self.clock.pump([LOOK] * 20)
        self.assertEqual((self.cluster.writes - before, len(self.used)), (0, 1))

    def test_an_overwritten_bundle_is_put_back(self) -> None:
        for wrong in ("", "bm9uZQ=="):
            self.cluster.bundles[1] = wrong
            self.cluster.version += 1
            self.clock.advance(10)
            self.assertEqual(self.cluster.bundles, [self.bundle] * 2)
        self.assertEqual(len(self.used), 1, "the certificate is the same")

    def test_a_conflict_is_tried_again_soon(self) -> None:
        self.cluster.bundles[0], self.cluster.conflicts = "", 1
        self.clock.advance(LOOK)
        self.assertEqual(self.cluster.bundles[0], "")
        self.clock.advance(SOON)
        self.assertEqual(self.cluster.bundles[0], self.bundle)

    def test_an_error_that_nobody_expected_does_not_end_the_checks(self) -> None:
        def broken(*_arguments: object) -> None:
            raise ZeroDivisionError

        self.cluster.secret = None
        with mock.patch.object(serving, "make_pair", broken):
            self.clock.advance(LOOK)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.clock.advance(LOOK)
        self.assertIsNotNone(self.cluster.secret)

    def test_a_full_disk_is_waited_for(self) -> None:
        def full(*arguments: object) -> serving.Pair:
            raise OSError(ENOSPC, "No space left on device")

        self.cluster.secret = None
        restore = self.patch(serving, "make_pair", full)
        self.clock.pump([LOOK, SOON, SOON])
        self.assertIsNone(self.cluster.secret)
        restore.restore()
        self.clock.advance(SOON)
        self.assertIsNotNone(self.cluster.secret)
