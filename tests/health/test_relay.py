from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.health.edge.relay import Relay
from superedge.health.edge.unitfile import UnitFile
from superedge.health.votes.messages import (
    FROM_CLOUD,
    NO_ROUTE,
    Change,
    Hello,
    Hops,
    Member,
    Message,
    MessageError,
    MessageReader,
    Ping,
    Unit,
    difference,
    encode_message,
)

UNIT = Unit("shop", 10, (Member("edge-1", "192.0.2.1"), Member("edge-2", "192.0.2.2", 10251, 51006)))
SAID: tuple[Message, ...] = (
    Hello(1, True, 0, 7),
    UNIT,
    Ping(3, 4),
    Hops(2),
    Change(UNIT.members, ("edge-9",)),
)


class RelayTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.relay: Relay[str] = Relay()

    def test_hops(self) -> None:
        self.assertEqual(self.relay.hops, NO_ROUTE)
        self.assertTrue(self.relay.announce("a", 3))
        self.assertEqual(self.relay.hops, 4)
        self.assertTrue(self.relay.announce("b", 0))
        self.assertFalse(self.relay.announce("c", 5))
        self.assertEqual(self.relay.hops, 1)
        self.assertTrue(self.relay.session(True))
        self.assertEqual(self.relay.hops, 0)
        self.relay.session(False)
        self.assertTrue(self.relay.drop("b"))
        self.assertEqual(self.relay.hops, 4)
        self.relay.announce("a", 10**9)
        self.relay.announce("c", -5)
        self.assertEqual(self.relay.hops, 1)

    def test_what_goes_on_and_where(self) -> None:
        for link, hops in {"near": 0, "next": 1, "third": 1, "far": 9}.items():
            self.relay.announce(link, hops)
        self.assertFalse(self.relay.forwards_from("near"))
        self.assertTrue(self.relay.forwards_from("far"))
        self.assertEqual(self.relay.onward("far"), ["near"])
        self.relay.drop("near")
        self.assertEqual(self.relay.onward("far"), ["next", "third"])
        self.assertEqual(self.relay.onward("next"), ["third"])
        self.relay.session(True)
        self.assertEqual(self.relay.onward("far"), [])


class MessageTests(SynchronousTestCase):
    def test_byte_by_byte(self) -> None:
        reader, found = MessageReader(1000), []
        for byte in b"".join(map(encode_message, SAID)):
            found += reader.feed(bytes([byte]))
        self.assertEqual((tuple(found), reader.partial), (SAID, False))

    @given(st.binary(max_size=100))
    def test_any_bytes(self, data: bytes) -> None:
        try:
            MessageReader(1000).feed(data)
        except MessageError:
            return

    def test_what_is_too_long_is_refused_at_its_head(self) -> None:
        self.assertRaises(MessageError, MessageReader(1000).feed, b"\x00\x00\x03\xe9")


MEMBERS = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from("12")).map(
    lambda hosts: tuple(Member(name, host) for name, host in sorted(hosts.items()))
)


class ChangeTests(SynchronousTestCase):
    @settings(max_examples=50)
    @given(MEMBERS, MEMBERS)
    def test_any_unit_becomes_any_other_of_its_name(
        self, before: tuple[Member, ...], after: tuple[Member, ...]
    ) -> None:
        change = difference(Unit("u", 10, before), Unit("u", 10, after))
        assert isinstance(change, Change)
        self.assertEqual(change.applied(Unit("u", 10, before)), Unit("u", 10, after))
        self.assertEqual(set(change.members) & set(before), set())

    def test_another_unit_is_told_whole(self) -> None:
        for other in (Unit("v", 10, UNIT.members), Unit("shop", 5, UNIT.members)):
            self.assertIs(difference(UNIT, other), other)


class UnitFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.file = UnitFile(self.directory)

    def test_what_was_written_is_read(self) -> None:
        self.assertIsNone(self.file.read())
        for unit in (UNIT, Unit("", 0, ())):
            self.file.write(unit)
            self.assertEqual(UnitFile(self.directory).read(), unit)
        self.assertEqual((self.directory / "unit").stat().st_mode & 0o777, 0o600)

    def test_what_is_damaged_is_none(self) -> None:
        self.directory.mkdir()
        for data in (b"", b"\x00\x00\x00\x02\xff\xff", encode_message(Hops(1)), encode_message(UNIT)[:-1]):
            (self.directory / "unit").write_bytes(data)
            self.assertIsNone(self.file.read())

    def test_a_directory_that_cannot_be_written(self) -> None:
        self.directory.write_text("a file")
        self.file.write(UNIT)
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    def test_ten_thousand_members_are_one_message(self) -> None:
        many = Unit(
            "", 10, tuple(Member(f"edge-{n}.shop-{n}.example", f"10.0.{n % 250}.1") for n in range(10_000))
        )
        self.assertEqual(MessageReader(FROM_CLOUD).feed(encode_message(many)), [many])
