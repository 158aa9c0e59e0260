"""The hosts-format ConfigMap."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.dns.hosts import HostsConfigMap
from superedge.testing.inprocess import InProcessAPI
from superedge.testing.storage import Collection, Key


class HostsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.api = InProcessAPI(self.clock, 0.01)
        client = self.api.client()
        Deferred.fromCoroutine(client.call("POST", "/api/v1/namespaces", body={"metadata": {"name": "dns"}}))
        self.entries: list[tuple[str, Sequence[str]]] = [("edge-1", ["192.0.2.1", "2001:db8::1"])]
        self.elected = True
        self.hosts = HostsConfigMap(
            self.clock, client, "dns", "hosts", lambda: self.entries, lambda: self.elected
        )
        self.hosts.startService()
        self.run_for(1)

    def run_for(self, seconds: float) -> None:
        self.clock.pump([0.05] * round(seconds * 20))

    def text(self) -> str | None:
        stored = self.api.store.get(Collection("", "configmaps"), Key("dns", "hosts"))
        return None if stored is None else stored.object["data"].get("hosts")

    def test_it_is_made_and_follows(self) -> None:
        self.assertEqual(self.text(), "192.0.2.1 edge-1\n2001:db8::1 edge-1\n")
        self.entries.append(("edge-2", ["192.0.2.2"]))
        self.hosts.changed()
        self.run_for(6)
        self.assertEqual(self.text(), "192.0.2.1 edge-1\n2001:db8::1 edge-1\n192.0.2.2 edge-2\n")

    def test_many_changes_are_few_writes(self) -> None:
        before = self.api.writes["configmaps"]
        for number in range(100):
            self.entries = [(f"edge-{number}", ["192.0.2.1"])]
            self.hosts.changed()
            self.run_for(0.1)
        self.run_for(6)
        self.assertEqual(self.text(), "192.0.2.1 edge-99\n")
        self.assertLessEqual(self.api.writes["configmaps"] - before, 4)

    def test_what_else_is_in_it_stays(self) -> None:
        patch = {"data": {"Corefile": "."}}
        path = "/api/v1/namespaces/dns/configmaps/hosts"
        client = self.api.client()
        Deferred.fromCoroutine(
            client.call("PATCH", path, body=patch, content_type="application/merge-patch+json")
        )
        self.entries = []
        self.hosts.changed()
        self.run_for(6)
        stored = self.api.store.get(Collection("", "configmaps"), Key("dns", "hosts"))
        assert stored is not None
        self.assertEqual(stored.object["data"], {"Corefile": ".", "hosts": ""})

    def test_one_of_several_writes(self) -> None:
        self.elected = False
        self.entries = []
        self.hosts.changed()
        self.run_for(10)
        self.assertNotEqual(self.text(), "")
        self.elected = True
        self.run_for(70)
        self.assertEqual(self.text(), "")

    def test_an_outage(self) -> None:
        self.api.available = False
        self.entries = []
        self.hosts.changed()
        self.run_for(30)
        self.api.available = True
        self.run_for(6)
        self.assertEqual(self.text(), "")

    def test_too_many(self) -> None:
        self.entries = [(f"edge-{number}", ["192.0.2.1"]) for number in range(60_000)]
        self.hosts.changed()
        self.run_for(6)
        self.assertNotEqual(len(msgspec.json.encode(self.text())), 0)
        self.assertIn("edge-1", str(self.text()))
        self.hosts.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
