from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from superedge.kube.codecs import codec_for
from superedge.kube.errors import DecodeError
from superedge.kube.media import JSON, PROTOBUF, Representation
from superedge.kube.protobuf import envelope, split_envelope
from superedge.kube.wire import field, walk
from superedge.liteapiserver.forward.bodies import filter_list, filter_object

META = field(2, b"77") + field(3, b"a token")


def item(name: str) -> bytes:
    """A message with a name and a version."""
    return field(1, field(1, name.encode()) + field(6, b"5"))


def shorten(raw: bytes) -> bytes | None:
    """Hide what contains b, and change what contains c."""
    return None if b"b" in raw else raw + field(9, b"new") if b"c" in raw else raw


class ProtobufTests(SynchronousTestCase):
    def names(self, body: bytes) -> list[tuple[int, bytes]]:
        raw = split_envelope(body)[2]
        return [(number, raw[a:b]) for number, _, a, b in walk(raw)]

    def test_a_page(self) -> None:
        before = [(1, META), (2, item("a")), (2, item("b")), (2, item("c")), (2, item("d")), (7, b"later")]
        raw = b"".join(field(number, each) for number, each in before)
        body = envelope("EndpointSliceList", "discovery.k8s.io/v1", raw)
        after, version = filter_list(PROTOBUF, body, shorten)
        wanted = [*before[:2], (2, item("c") + field(9, b"new")), *before[4:]]
        self.assertEqual((version, self.names(after)), ("77", wanted))
        self.assertEqual(split_envelope(after)[:2], ("EndpointSliceList", "discovery.k8s.io/v1"))
        codec = codec_for(Representation(PROTOBUF))
        assert codec is not None
        page = codec.decode_list(after)
        self.assertEqual((page.token, [each.name for each in page.items]), ("a token", ["a", "c", "d"]))

    def test_nothing_changes(self) -> None:
        body = envelope("PodList", "v1", field(1, META) + field(2, item("a")))
        self.assertIs(filter_list(PROTOBUF, body, shorten)[0], body)
        empty = envelope("PodList", "v1", field(1, META))
        self.assertEqual(filter_list(PROTOBUF, empty, shorten), (empty, "77"))
        one = envelope("Pod", "v1", item("a"))
        self.assertEqual(filter_object(PROTOBUF, one, shorten), (one, "5"))

    def test_an_object(self) -> None:
        self.assertEqual(filter_object(PROTOBUF, envelope("Pod", "v1", item("b")), shorten), (None, "5"))
        changed = envelope("Pod", "v1", item("c") + field(9, b"new"))
        self.assertEqual(filter_object(PROTOBUF, envelope("Pod", "v1", item("c")), shorten), (changed, "5"))

    def test_what_is_no_list(self) -> None:
        for body in (b"", b"{}", b"k8s\0\x12\xff"):
            self.assertRaises(DecodeError, filter_list, PROTOBUF, body, shorten)


class JSONTests(SynchronousTestCase):
    def test_a_page(self) -> None:
        meta = {"resourceVersion": "77", "continue": "a token", "remainingItemCount": 5}
        items = [{"metadata": {"name": name}} for name in ("x", "by", "z")]
        body = json.dumps({"kind": "PodList", "apiVersion": "v1", "metadata": meta, "items": items}).encode()
        after, version = filter_list(JSON, body, shorten)
        wanted = {"kind": "PodList", "apiVersion": "v1", "metadata": meta, "items": [items[0], items[2]]}
        self.assertEqual((version, json.loads(after)), ("77", wanted))
        plain = body.replace(b"by", b"y")
        self.assertIs(filter_list(JSON, plain, shorten)[0], plain)

    def test_no_items(self) -> None:
        for items in (b"null", b"[]"):
            body = b'{"kind":"PodList","metadata":{"resourceVersion":"3"},"items":%b}' % items
            self.assertEqual(filter_list(JSON, body, shorten), (body, "3"))

    def test_an_object(self) -> None:
        body = b'{"metadata":{"resourceVersion":"3"}}'
        self.assertEqual(filter_object(JSON, body, lambda raw: raw), (body, "3"))
        self.assertEqual(filter_object(JSON, body, lambda raw: None), (None, "3"))

    def test_what_is_no_list(self) -> None:
        for body in (b"", b"[]", b'{"items":3}', b'{"metadata":3}'):
            self.assertRaises(DecodeError, filter_list, JSON, body, shorten)
