from __future__ import annotations

import json
from unittest.mock import Mock

from twisted.trial.unittest import SynchronousTestCase

from superedge.kube.codecs import codec_for
from superedge.kube.errors import DecodeError
from superedge.kube.fields import parse_field_selector
from superedge.kube.media import JSON, PROTOBUF, Representation
from superedge.kube.wire import field, number_field

POD = {
    "metadata": {"name": "a"},
    "spec": {"nodeName": "edge-1", "hostNetwork": True},
    "status": {"phase": "Running"},
}
# Pod: spec 2 with nodeName 10 and hostNetwork 11, status 3 with phase 1.
POD_PROTOBUF = b"".join(
    [
        field(1, field(1, b"a")),
        field(2, field(10, b"edge-1") + number_field(11, 1)),
        field(3, field(1, b"Running")),
    ]
)


class FieldTests(SynchronousTestCase):
    def check(self, text: str, wanted: bool) -> None:
        selector = parse_field_selector(text, "", "pods")
        assert selector is not None
        for media_type, raw in ((JSON, json.dumps(POD).encode()), (PROTOBUF, POD_PROTOBUF)):
            codec = codec_for(Representation(media_type))
            assert codec is not None
            self.assertIs(selector.selects(codec, raw), wanted, f"{text} in {media_type}")

    def test_fields_of_pods_in_both_forms(self) -> None:
        self.check("spec.nodeName=edge-1", True)
        self.check("spec.nodeName==edge-2", False)
        self.check("spec.nodeName!=edge-2,status.phase=Running", True)
        self.check("status.phase!=Running", False)
        self.check("spec.schedulerName=", True)
        self.check("spec.schedulerName!=", False)
        self.check("spec.hostNetwork=true", True)
        self.check("spec.hostNetwork=false", False)

    def test_an_absent_boolean_is_false(self) -> None:
        selector = parse_field_selector("spec.unschedulable=false", "", "nodes")
        assert selector is not None
        for media_type, raw in ((JSON, b'{"metadata":{"name":"n"}}'), (PROTOBUF, field(1, field(1, b"n")))):
            codec = codec_for(Representation(media_type))
            assert codec is not None
            self.assertTrue(selector.selects(codec, raw))

    def test_names(self) -> None:
        selector = parse_field_selector("metadata.name=a,metadata.namespace!=kube-system", "apps", "x")
        assert selector is not None
        self.assertTrue(selector.names_only)
        self.assertTrue(selector.selects_name("default", "a"))
        self.assertFalse(selector.selects_name("kube-system", "a"))
        self.assertFalse(selector.selects_name("default", "b"))

    def test_escapes(self) -> None:
        selector = parse_field_selector(r"metadata.name=a\,b\=c\\d", "", "pods")
        assert selector is not None
        self.assertTrue(selector.selects_name("", r"a,b=c\d"))

    def test_what_is_not_known(self) -> None:
        for text in ("spec.madeUp=1", "metadata.name", "metadata.name=a,,", "=x", "metadata.name=a,spec.x=y"):
            self.assertIsNone(parse_field_selector(text, "", "pods"), text)
        self.assertIsNone(parse_field_selector("spec.nodeName=n", "apps", "pods"))

    def test_texts_that_are_tried_in_many_ways(self) -> None:
        """Of a length that a request may have; in cubic time this would never end."""
        for text in (" " * 100_000, "a " * 50_000, "a" * 100_000 + "!", "a=\\" * 25_000):
            self.assertIsNone(parse_field_selector(text, "", "pods"))

    def test_however_many_terms_an_object_is_decoded_once(self) -> None:
        codec = codec_for(Representation(JSON))
        assert codec is not None
        counting = Mock(wraps=codec)
        terms = ["status.phase!=Failed", *(f"spec.nodeName!=edge-{number}" for number in range(2, 1000))]
        selector = parse_field_selector(",".join(terms), "", "pods")
        assert selector is not None
        self.assertTrue(selector.selects(counting, json.dumps(POD).encode()))
        self.assertEqual(counting.field.call_count, 2)
        self.check("spec.nodeName=edge-1,spec.nodeName==edge-1,spec.nodeName!=edge-2", True)
        self.check("spec.nodeName=edge-1,spec.nodeName=edge-2", False)

    def test_fields_of_custom_resources(self) -> None:
        """Their names are JSON paths; an absent field is an empty string."""
        self.assertIsNone(parse_field_selector("spec.color=red", "shop.example", "cars"))
        self.assertIsNone(parse_field_selector("spec.color=red", "apps", "cars", custom=True))
        codec, protobuf = codec_for(Representation(JSON)), codec_for(Representation(PROTOBUF))
        assert codec is not None
        assert protobuf is not None
        car = json.dumps({"spec": {"color": "red", "doors": 5, "sold": False}}).encode()
        for text, wanted in (
            ("spec.color=red,spec.doors=5,spec.sold=false", True),
            ("spec.color!=red", False),
            ("spec.engine=", True),
        ):
            selector = parse_field_selector(text, "shop.example", "cars", custom=True)
            assert selector is not None
            self.assertIs(selector.selects(codec, car), wanted, text)
            with self.assertRaises(DecodeError):
                selector.selects(protobuf, b"")
