"""The zone follows the API server, and outlives it."""

from __future__ import annotations

import json
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.dns import snapshot
from superedge.dns.cluster.objects import Endpoint, Port, Service, Slice
from superedge.dns.cluster.zone import ClusterZone
from superedge.dns.follow import SAVE_AFTER, ClusterFollower
from superedge.dns.snapshot import SnapshotError, encode_snapshot, read_snapshot, write_snapshot
from superedge.dns.wire import wire_name
from superedge.kube.reflector import Key
from superedge.testing.inprocess import InProcessAPI
from tests.dns.cluster.objects import endpoint, endpoint_slice, service
from tests.dns.serving import Away
from tests.dns.threads import Threads
from tests.events import logged


class FollowTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="superedge-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.path = self.directory / "state" / "dns.snapshot"
        self.clock = Clock()
        self.api = InProcessAPI(self.clock, 0.01)
        self.client: Any = self.api.client()
        self.call("POST", "/api/v1/namespaces", {"metadata": {"name": "default"}})
        self.changes = 0

    def call(self, method: str, path: str, body: Any = None) -> None:
        Deferred.fromCoroutine(self.client.call(method, path, body=body))
        self.run_for(0.2)

    def run_for(self, seconds: float) -> None:
        self.clock.pump([0.05] * round(seconds * 20))

    def create(self, name: str, address: str) -> None:
        body = json.loads(service(address))
        body["metadata"]["name"] = name
        self.call("POST", "/api/v1/namespaces/default/services", body)

    def start(self, client: Any = None) -> ClusterFollower:
        self.zone = ClusterZone("cluster.local", 5, [], True)
        self.threads = Threads(self.clock)

        def changed() -> None:
            self.changes += 1

        reactor: Any = self.threads
        follower = ClusterFollower(reactor, client or self.client, self.zone, self.path, changed)
        follower.restore()
        follower.startService()
        self.addCleanup(lambda: follower.running and follower.stopService())
        return follower

    def address(self, name: str) -> str:
        found = self.zone.find(wire_name(f"{name}.default.svc.cluster.local"), 1)
        assert found is not None
        return ".".join(map(str, found.records[0].data)) if found.records else "none"

    def test_why_it_does_not_follow(self) -> None:
        follower = self.start()
        self.run_for(1)
        self.assertEqual((follower.synced, follower.problems()), (True, []))
        self.api.available = False
        self.run_for(1)
        self.assertEqual(follower.status()["synced"], True)
        self.assertEqual(
            follower.problems(),
            [
                "/api/v1/services: the API server is away",
                "/apis/discovery.k8s.io/v1/endpointslices: the API server is away",
            ],
        )
        self.api.available = True
        self.run_for(15)
        self.assertEqual(follower.problems(), [])

    def test_it_follows(self) -> None:
        self.create("web", "10.0.0.1")
        follower = self.start()
        self.assertFalse(follower.loaded)
        self.run_for(1)
        self.assertTrue(follower.loaded)
        self.assertEqual(self.address("web"), "10.0.0.1")
        self.create("db", "10.0.0.2")
        self.assertEqual(self.address("db"), "10.0.0.2")
        before = self.changes
        self.call("DELETE", "/api/v1/namespaces/default/services/web")
        self.assertEqual((self.address("web"), self.changes), ("none", before + 1))

    def test_what_changes_no_name_changes_nothing(self) -> None:
        self.create("web", "10.0.0.1")
        self.start()
        self.run_for(1)
        before = self.changes
        body = json.loads(service("10.0.0.1"))
        body["metadata"] = {"name": "web", "annotations": {"a": "b"}}
        self.call("PUT", "/api/v1/namespaces/default/services/web", body)
        self.assertEqual(self.changes, before)

    def test_the_snapshot_outlives_the_cloud(self) -> None:
        self.create("web", "10.0.0.1")
        first = self.start()
        self.run_for(SAVE_AFTER + 1)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.create("late", "10.0.0.3")
        first.stopService()
        offline = self.start(cast(Any, Away()))
        self.assertTrue(offline.loaded)
        self.assertFalse(offline.synced)
        self.assertEqual((self.address("web"), self.address("late")), ("10.0.0.1", "10.0.0.3"))
        offline.stopService()
        self.call("DELETE", "/api/v1/namespaces/default/services/web")
        self.start()
        self.assertEqual(self.address("web"), "10.0.0.1", "until the cloud has said otherwise")
        self.run_for(1)
        self.assertEqual((self.address("web"), self.address("late")), ("none", "10.0.0.3"))

    def test_the_end_waits_for_a_slow_disk(self) -> None:
        """What changed last is what the file has."""
        follower = self.start()
        self.run_for(1)
        self.threads.slow = True
        self.create("web", "10.0.0.1")
        self.run_for(SAVE_AFTER)
        self.create("db", "10.0.0.2")
        ended = follower.stopService()
        self.assertNoResult(ended)
        self.threads.finish()
        self.successResultOf(ended)
        found = read_snapshot(self.path)
        assert found is not None
        self.assertEqual(sorted(key.name for key, _ in found.services), ["db", "web"])

    def test_a_damaged_snapshot_is_as_none(self) -> None:
        data = encode_snapshot({Key("default", "web"): Service((b"\x0a\0\0\1",))}, {})
        events = logged(self)
        for at in (0, 20, 50, len(data) - 1):
            write_snapshot(self.path, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            self.assertRaises(SnapshotError, read_snapshot, self.path)
            follower = self.start(cast(Any, Away()))
            self.assertFalse(follower.loaded)
            follower.stopService()
        self.assertEqual(sum("is damaged" in str(event.get("problem")) for event in events), 4)

    def test_a_snapshot_of_another_version_is_as_none(self) -> None:
        deep, garbled = b"\x93\x90\x90" + b"\x91" * 5000 + b"\x90", b"\x92\x91\x92\x92\xa1\xff\xa1b\x90\x90"
        for body in (b"", b"\xc1", deep, garbled):
            write_snapshot(self.path, snapshot._sealed(snapshot._OBJECTS, body))
            self.assertRaises(SnapshotError, read_snapshot, self.path)

    def test_a_disk_that_cannot_be_written_is_tried_again(self) -> None:
        self.path.parent.mkdir()
        blocked = self.path.with_name(f".{self.path.name}.new")
        blocked.mkdir()
        self.create("web", "10.0.0.1")
        self.start()
        events = logged(self)
        self.run_for(3 * SAVE_AFTER + 2)
        self.assertFalse(self.path.exists())
        self.assertEqual(sum("cannot be written" in str(event.get("log_format")) for event in events), 1)
        blocked.rmdir()
        self.run_for(SAVE_AFTER + 1)
        self.assertTrue(self.path.exists())

    @given(
        st.dictionaries(
            st.tuples(st.text(max_size=5), st.text(max_size=5)).map(lambda pair: Key(*pair)),
            st.builds(
                Service,
                st.lists(st.binary(min_size=4, max_size=4), max_size=2).map(tuple),
                st.lists(st.builds(Port, st.text(), st.text(), st.integers(0, 65535)), max_size=2).map(tuple),
                st.text(),
                st.booleans(),
            ),
        )
    )
    def test_what_is_written_is_read(self, services: dict[Key, Service]) -> None:
        slices = {Key("a", "b"): Slice("c", (Endpoint("d", (b"\1\2\3\4",), True),), (Port("e", "tcp", 1),))}
        write_snapshot(self.path, encode_snapshot(services, slices))
        found = read_snapshot(self.path)
        assert found is not None
        self.assertEqual((dict(found.services), dict(found.slices)), (services, slices))

    def test_endpoint_slices_are_followed(self) -> None:
        body = json.loads(service())
        body["metadata"]["name"] = "db"
        self.call("POST", "/api/v1/namespaces/default/services", body)
        found = json.loads(endpoint_slice("db", endpoint("10.1.0.1")))
        found["metadata"]["name"] = "db-1"
        self.call("POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", found)
        self.start()
        self.run_for(1)
        self.assertEqual(self.address("db"), "10.1.0.1")
