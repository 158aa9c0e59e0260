from __future__ import annotations

import contextlib
import json

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.addresses import TCPAddress
from superedge.kube.errors import DecodeError
from superedge.tunnel.replicas import records
from superedge.tunnel.replicas.records import Replica

REPLICA = Replica(
    "cloud-1",
    "abc",
    "2026-11-25T06:48:16.000000Z",
    15,
    TCPAddress("2001:db8::1", 51002),
    ("192.0.2.1", "2001:db8::1"),
)


class RecordTests(SynchronousTestCase):
    def test_a_lease_and_back(self) -> None:
        self.assertEqual(records.read_lease(json.dumps(records.lease(REPLICA)).encode()), REPLICA)

    def test_a_shard_and_back(self) -> None:
        data = {"edge-1": records.node_value(1764053296000001, 1764053296.7)}
        self.assertEqual(data["edge-1"], "1764053296000001 2025-11-25T06:48:16Z")
        raw = json.dumps(records.configmap("cloud-1", 0, data)).encode()
        shard = records.read_shard(raw)
        self.assertEqual((shard.replica, shard.nodes), ("cloud-1", {"edge-1": 1764053296000001}))

    def test_nonsense_under_one_name_harms_no_other(self) -> None:
        values = {"a": "7", "b": "x", "c": "", "d": "-3", "e": "0", "f": "9" * 30, "g": "8 later", "h": "²"}
        raw = json.dumps(records.configmap("cloud-1", 0, values)).encode()
        self.assertEqual(records.read_shard(raw).nodes, {"a": 7, "g": 8})

    def test_what_is_no_record(self) -> None:
        for raw in (b"", b"[]", b"{}", b'{"metadata":{},"spec":{}}', b'{"metadata":{"labels":7},"spec":{}}'):
            self.assertRaises(DecodeError, records.read_lease, raw)
        lease = records.lease(REPLICA)
        lease["metadata"]["annotations"][records.PEER] = "unix:/x"  # type: ignore[index]
        self.assertRaises(DecodeError, records.read_lease, json.dumps(lease).encode())
        self.assertRaises(DecodeError, records.read_shard, b'{"metadata":{},"data":[]}')

    @given(st.binary(max_size=200))
    def test_any_bytes(self, raw: bytes) -> None:
        for read in (records.read_lease, records.read_shard):
            with contextlib.suppress(DecodeError):
                read(raw)

    def test_names(self) -> None:
        self.assertEqual(records.shard_number("a", records.shard_name("a", 12)), 12)
        self.assertIsNone(records.shard_number("a", records.shard_name("a-1", 0)))
        self.assertIsNone(records.shard_number("a", "kube-root-ca.crt"))
