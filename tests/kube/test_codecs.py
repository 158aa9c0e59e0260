from __future__ import annotations

import contextlib
import json
import zlib
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.kube.codecs import codec_for
from superedge.kube.deletion import deleted_uid, is_dry_run
from superedge.kube.errors import DecodeError
from superedge.kube.json import JSONCodec
from superedge.kube.media import JSON, PROTOBUF, Representation, parse_media_type
from superedge.kube.objects import Codec, Item, KnownItems, WatchEvent, version_number
from superedge.kube.protobuf import MAX_FRAME, ProtobufCodec
from superedge.kube.table import TableCodec

SAMPLES = Path(__file__).parent / "samples"


def sample(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()


def gunzip(data: bytes) -> bytes:
    out = b""
    while data:
        member = zlib.decompressobj(31)
        out += member.decompress(data)
        data = member.unused_data
    return out


def events(codec: Codec, stream: bytes, size: int) -> list[WatchEvent]:
    splitter = codec.splitter()
    frames = [frame for at in range(0, len(stream), size) for frame in splitter.feed(stream[at : at + size])]
    assert splitter.pending == 0
    return [codec.decode_event(frame) for frame in frames]


class CodecTests(SynchronousTestCase):
    """What every codec does with the same objects of a real API server; this one is JSON's."""

    codec: Codec = JSONCodec()
    suffix = "json"
    watch = gunzip(sample("watchlist.json.gz"))

    def test_object(self) -> None:
        item = self.codec.decode_object(sample(f"object.{self.suffix}"))
        self.assertEqual(item[:5], ("samples", "c1", "416", "ConfigMap", "v1"))
        self.assertEqual(dict(self.codec.labels(item.raw)), {"app": "a"})
        again = self.codec.encode_object("ConfigMap", "v1", item.raw)
        self.assertEqual(again, sample(f"object.{self.suffix}"))

    def test_list(self) -> None:
        page = self.codec.decode_list(sample(f"list.{self.suffix}"))
        self.assertEqual(page[:4], ("ConfigMapList", "v1", "418", ""))
        self.assertEqual([item[:3] for item in page.items], [("samples", "c1", "416")])
        # An item of a list does not say what it is; a GET answer made of it does.
        body = self.codec.encode_object("ConfigMap", "v1", page.items[0].raw)
        self.assertEqual(self.codec.decode_object(body)[:5], ("samples", "c1", "416", "ConfigMap", "v1"))

    def test_list_made_of_items_reads_the_same(self) -> None:
        page = self.codec.decode_list(sample(f"list.{self.suffix}"))
        raws = [item.raw for item in page.items] * 3
        made = self.codec.decode_list(self.codec.encode_list("ConfigMapList", "v1", "418", raws))
        self.assertEqual(made[:4], page[:4])
        self.assertEqual([item.raw for item in made.items], raws)
        empty = self.codec.decode_list(self.codec.encode_list("PodList", "v1", "7", []))
        self.assertEqual(empty, ("PodList", "v1", "7", "", []))

    def test_what_is_known_is_not_decoded_again(self) -> None:
        body = sample(f"list.{self.suffix}")
        page = self.codec.decode_list(body)
        again = self.codec.decode_list(body, KnownItems(page.items))
        self.assertEqual(again, page)
        for new, old in zip(again.items, page.items, strict=True):
            self.assertIs(new, old)
        changed = [item._replace(raw=item.raw + b" ") for item in page.items]
        self.assertEqual(self.codec.decode_list(body, KnownItems(changed)), page)

    def test_watch_byte_by_byte(self) -> None:
        whole = events(self.codec, self.watch, len(self.watch))
        self.assertEqual(
            [(event.type, event.item.name, event.item.version) for event in whole],
            [
                ("ADDED", "c1", "416"),
                ("ADDED", "c2", "414"),
                ("ADDED", "c3", "415"),
                ("ADDED", "kube-root-ca.crt", "418"),
                ("BOOKMARK", "", "418"),
                ("DELETED", "c3", "419"),
                ("MODIFIED", "c2", "420"),
            ],
        )
        self.assertEqual([event.initial_events_end for event in whole], [False] * 4 + [True] + [False] * 2)
        self.assertEqual(events(self.codec, self.watch, 1), whole)

    def test_events_made_here_read_the_same(self) -> None:
        for event in events(self.codec, self.watch, 4096):
            if event.type == "BOOKMARK":
                frame = self.codec.encode_bookmark("ConfigMap", "v1", event.item.version, True)
                (made,) = events(self.codec, frame, 7)
                self.assertEqual((made.type, made.item.version), ("BOOKMARK", "418"))
                self.assertTrue(made.initial_events_end)
            else:
                frame = self.codec.encode_event(event.type, "ConfigMap", "v1", event.item.raw)
                self.assertEqual(events(self.codec, frame, 7), [event])

    def test_bookmark_that_ends_nothing(self) -> None:
        frame = self.codec.encode_bookmark("Pod", "v1", "9" * 30, False)
        (event,) = events(self.codec, frame, len(frame))
        self.assertFalse(event.initial_events_end)
        self.assertEqual(version_number(event.item.version), int("9" * 30))

    def test_truncated_bodies_are_refused(self) -> None:
        for name, decode in (("object", self.codec.decode_object), ("list", self.codec.decode_list)):
            whole = sample(f"{name}.{self.suffix}").rstrip()
            for end in range(0, len(whole) - 4, 7):
                self.assertRaises(DecodeError, decode, whole[:end])

    def test_a_list_is_no_object_and_the_other_way(self) -> None:
        self.assertRaises(DecodeError, self.codec.decode_object, sample(f"list.{self.suffix}"))
        self.assertRaises(DecodeError, self.codec.decode_list, sample(f"object.{self.suffix}"))


class ProtobufTests(CodecTests):
    codec: Codec = ProtobufCodec()
    suffix = "protobuf"
    watch = sample("watchlist.protobuf")

    def test_answers_are_byte_for_byte(self) -> None:
        page = self.codec.decode_list(sample("list.protobuf"))
        raws = [item.raw for item in page.items]
        self.assertEqual(self.codec.encode_list(*page[:3], raws), sample("list.protobuf"))

    def test_frames_are_byte_for_byte(self) -> None:
        splitter = self.codec.splitter()
        for frame in splitter.feed(self.watch):
            event = self.codec.decode_event(frame)
            made = self.codec.encode_event(event.type, "ConfigMap", "v1", event.item.raw)
            self.assertEqual(made[4:], frame)

    def test_list_of_metadata(self) -> None:
        page = self.codec.decode_list(sample("list-metadata.protobuf"))
        self.assertEqual(page[:2], ("PartialObjectMetadataList", "meta.k8s.io/v1"))
        self.assertEqual([item.name for item in page.items], ["c1", "c2"])

    def test_frame_too_long_to_be_true(self) -> None:
        self.assertRaises(DecodeError, self.codec.splitter().feed, (MAX_FRAME + 1).to_bytes(4, "big"))

    @settings(max_examples=200)
    @given(st.binary(max_size=200))
    def test_garbage_is_refused_or_read(self, data: bytes) -> None:
        for decode in (self.codec.decode_object, self.codec.decode_list, self.codec.decode_event):
            for body in (data, b"k8s\x00" + data):
                with contextlib.suppress(DecodeError):
                    decode(body)


class JSONDetailTests(SynchronousTestCase):
    codec = JSONCodec()

    def test_null_items_are_an_empty_list(self) -> None:
        body = b'{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"5"},"items":null}'
        self.assertEqual(self.codec.decode_list(body).items, [])

    def test_a_page_has_its_token(self) -> None:
        body = b'{"kind":"PodList","apiVersion":"v1","metadata":{"continue":"abc"},"items":[]}'
        self.assertEqual(self.codec.decode_list(body).token, "abc")

    def test_items_keep_their_bytes(self) -> None:
        item = b'{ "metadata" : {"name":"a","resourceVersion":"1"}, "x":1.10, "y":"\\u00e4" }'
        body = b'{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[%b]}' % item
        self.assertEqual(self.codec.decode_list(body).items[0].raw, item)

    def test_error_event(self) -> None:
        frame = b'{"type":"ERROR","object":{"kind":"Status","status":"Failure","code":410}}'
        self.assertEqual(self.codec.decode_event(frame).code, 410)

    def test_lines_in_any_pieces(self) -> None:
        splitter = self.codec.splitter()
        self.assertEqual(splitter.feed(b"a"), [])
        self.assertEqual(splitter.feed(b"b\n\nc\nd"), [b"ab", b"c"])
        self.assertEqual(splitter.pending, 1)
        self.assertEqual(splitter.feed(b"\n"), [b"d"])

    @settings(max_examples=100)
    @given(
        st.recursive(
            st.none() | st.integers() | st.text(),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(
                    st.sampled_from(["kind", "apiVersion", "metadata", "items", "name", "object", "type"]),
                    inner,
                )
            ),
        )
    )
    def test_any_json_is_refused_or_read(self, value: object) -> None:
        body = json.dumps(value).encode()
        for decode in (self.codec.decode_object, self.codec.decode_list, self.codec.decode_event):
            with contextlib.suppress(DecodeError):
                decode(body)


class HostileTests(SynchronousTestCase):
    """Text that is not UTF-8, and nesting that is too deep, from a peer or a file."""

    bodies = (b'{"metadata":{"uid":"\xff"}}', b'{"metadata":{"x":%b}}' % (b"[" * 5000))

    def test_every_reader_of_json_refuses_them(self) -> None:
        table = TableCodec(Representation(JSON, "Table", "v1"))
        for body in self.bodies:
            for codec in (JSONCodec(), table):
                self.assertRaises(DecodeError, codec.lifecycle, body)
        self.assertRaises(DecodeError, JSONCodec().metadata, self.bodies[1])

    def test_a_row_whose_object_is_unreadable_keeps_its_age(self) -> None:
        table = TableCodec(Representation(JSON, "Table", "v1"))
        table.shared = b'[{"name":"Age","type":"string"}]'
        for body in self.bodies:
            row = b'{"cells":["1d"],"object":%b}' % body
            self.assertEqual(table.as_of(row, 0.0), row)

    def test_columns_that_are_unreadable(self) -> None:
        for columns in (b'[{"name":"\xff"}]', b'[{"x":%b}]' % (b"[" * 5000)):
            table = TableCodec(Representation(JSON, "Table", "v1"))
            table.shared = columns
            self.assertRaises(DecodeError, table.derive, b'{"name":"a"}', b"")
            self.assertEqual(table.as_of(b"{}", 0.0), b"{}")

    def test_a_deletion(self) -> None:
        for body in (b'{"details":%b}' % (b"[" * 5000), b'{"details":{"uid":"\xff"}}'):
            self.assertTrue(is_dry_run(body.replace(b"details", b"dryRun")))
            self.assertFalse(is_dry_run(body.replace(b"details", b"x")))
            self.assertRaises(DecodeError, deleted_uid, body)


class ChoiceTests(SynchronousTestCase):
    def test_what_is_read(self) -> None:
        self.assertIsInstance(codec_for(Representation(JSON)), JSONCodec)
        self.assertIsInstance(codec_for(Representation(PROTOBUF)), ProtobufCodec)
        metadata = parse_media_type("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
        self.assertIsInstance(codec_for(metadata), JSONCodec)
        table = "application/json;as=Table;g=meta.k8s.io;v=v1"
        first, second = (codec_for(parse_media_type(table)) for _ in range(2))
        self.assertIsInstance(first, TableCodec)
        self.assertIsNot(first, second)  # each has the columns of one resource
        self.assertIsNone(codec_for(parse_media_type(f"{table};includeObject=None")))
        self.assertIsNone(codec_for(Representation("application/yaml")))

    def test_versions_of_any_length(self) -> None:
        self.assertGreater(
            version_number("10000000000000000000000"), version_number("9999999999999999999999")
        )
        self.assertEqual([version_number(text) for text in ("", "0", "a", "-1", "1.5")], [0, 0, 0, 0, 0])


def small(namespace: str, name: str, version: str) -> Item:
    return Item(namespace, name, version, "", "", f"{namespace} {name} {version}".encode())


ITEMS = st.lists(
    st.builds(small, st.sampled_from("mn"), st.sampled_from("abcdef"), st.sampled_from("12")), max_size=8
)


class KnownTests(SynchronousTestCase):
    def read(self, before: list[Item], now: list[Item]) -> tuple[list[Item], int]:
        """What is read, and how many were decoded."""
        decoded = []

        def decode(raw: bytes) -> Item:
            decoded.append(raw)
            return small(*raw.decode().split())

        known = KnownItems(before)
        return [known.read(item.raw, decode) for item in now], len(decoded)

    @given(ITEMS, ITEMS)
    def test_any_list_after_any_other(self, before: list[Item], now: list[Item]) -> None:
        self.assertEqual(self.read(before, now)[0], now)

    def test_only_what_changed_is_decoded(self) -> None:
        items = [small("n", name, "1") for name in "abcdefgh"]
        new = small("n", "cc", "2")
        for now, decoded in (
            (items, 0),
            ([*items[:3], small("n", "d", "2"), *items[4:]], 1),
            ([*items[:3], new, *items[3:]], 1),
            (items[:3] + items[4:], 1),  # the one behind the gap
            (items[4:], 1),
            ([*items, new], 1),
            ([], 0),
        ):
            self.assertEqual(self.read(items, now), (now, decoded))
        self.assertEqual(self.read([], items), (items, len(items)))
