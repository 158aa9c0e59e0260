"""The hosts-format ConfigMap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.logger import formatEvent
from twisted.trial.unittest import SynchronousTestCase

from superedge.dns import hosts
from superedge.dns.hosts import HostsConfigMap
from superedge.kube.errors import APIError
from superedge.testing.inprocess import InProcessAPI
from superedge.testing.storage import Collection, Key
from tests.events import logged


class HostsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.api = InProcessAPI(self.clock, 0.01)
        self.client: Any = self.api.client()
        client = self.client
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
        before = self.text()
        self.entries = [(f"edge-{number}", ["192.0.2.1"]) for number in range(60_000)]
        self.hosts.changed()
        self.run_for(6)
        self.assertEqual(self.text(), before, "what is there is better than nothing")

    def test_what_fits_exactly(self) -> None:
        self.patch(hosts, "MAX_BYTES", len("192.0.2.9 edge-9\n"))
        self.entries = [("edge-9", ["192.0.2.9"])]
        self.hosts.changed()
        self.run_for(6)
        self.assertEqual(self.text(), "192.0.2.9 edge-9\n")

    def test_a_configmap_that_is_empty(self) -> None:
        client = self.api.client()
        path = "/api/v1/namespaces/dns/configmaps"
        Deferred.fromCoroutine(client.call("DELETE", f"{path}/hosts"))
        self.run_for(1)
        Deferred.fromCoroutine(client.call("POST", path, body={"metadata": {"name": "hosts"}}))
        self.run_for(1)
        self.hosts.changed()
        self.run_for(6)
        self.assertEqual(self.text(), "192.0.2.1 edge-1\n2001:db8::1 edge-1\n")

    def test_a_refusal_is_said_once_until_it_works_again(self) -> None:
        events = logged(self)

        def said() -> int:
            return len([event for event in events if "cannot write" in formatEvent(event)])

        real = self.client.call
        for times in (1, 2):
            asked: list[str] = []

            async def refuse(method: str, *arguments: Any, **more: Any) -> bytes:
                asked.append(method)  # noqa: B023
                raise APIError(403, "Forbidden", "no")

            self.client.call = refuse
            self.entries = [(f"edge-{times}", ["192.0.2.7"])]
            self.hosts.changed()
            self.run_for(30)
            self.assertEqual(set(asked), {"GET"}, "only what is not there is made")
            self.assertGreater(len(asked), 3)
            self.assertEqual(said(), times)
            self.client.call = real
            self.run_for(6)
            self.assertEqual(self.text(), f"192.0.2.7 edge-{times}\n")

    def test_a_slow_server_is_asked_one_thing_at_a_time(self) -> None:
        under_way: list[int] = [0, 0]
        real = self.client.call

        async def slow(*arguments: Any, **more: Any) -> bytes:
            under_way[0] += 1
            under_way[1] = max(under_way)
            await deferLater(self.clock, 20.0)
            try:
                return cast(bytes, await real(*arguments, **more))
            finally:
                under_way[0] -= 1

        self.client.call = slow
        for number in range(30):
            self.entries = [(f"edge-{number}", ["192.0.2.1"])]
            self.hosts.changed()
            self.run_for(2)
        self.run_for(120)
        self.assertEqual(self.text(), "192.0.2.1 edge-29\n")
        self.assertEqual(under_way[1], 1)

    def test_it_stops_before_a_write_and_in_the_middle_of_one(self) -> None:
        for seconds in (0, 7):
            self.setUp()
            before = self.text()
            self.api.latency = 30.0
            self.entries = []
            self.hosts.changed()
            self.run_for(seconds)
            self.hosts.stopService()
            self.hosts.changed()
            self.run_for(100)
            self.assertEqual((self.text(), self.clock.getDelayedCalls()), (before, []))
