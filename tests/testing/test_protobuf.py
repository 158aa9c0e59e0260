from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.testing.protobuf import ProtobufError, decode


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: bytes | str | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    raw = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def body(version: str, kind: str, raw: bytes) -> bytes:
    return (
        b"k8s\x00"
        + field(1, field(1, version) + field(2, kind))
        + field(2, raw)
        + field(3, "")
        + field(4, "")
    )


def metadata(name: str) -> bytes:
    """As Go writes it: what is not set is there, and empty."""
    empty = b"".join(field(number, "") for number in (2, 3, 4, 5, 6))
    return field(1, field(1, name) + empty + field(7, 0) + field(8, b""))


class DecodeTests(SynchronousTestCase):
    @settings(max_examples=60)
    @given(st.dictionaries(st.text(min_size=1), st.text(max_size=200)))
    def test_configmap(self, data: dict[str, str]) -> None:
        entries = b"".join(field(2, field(1, key) + field(2, value)) for key, value in data.items())
        wanted = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x"}}
        self.assertEqual(
            decode(body("v1", "ConfigMap", metadata("x") + entries)),
            wanted | ({"data": data} if data else {}),
        )

    def test_secret_bytes_become_base64(self) -> None:
        raw = (
            metadata("s") + field(2, field(1, "k") + field(2, b"\xff\x00")) + field(3, "Opaque") + field(5, 1)
        )
        item = decode(body("v1", "Secret", raw))
        self.assertEqual((item["data"], item["type"], item["immutable"]), ({"k": "/wA="}, "Opaque", True))

    def test_empty_messages_are_left_out(self) -> None:
        raw = metadata("n") + field(2, b"") + field(3, field(1, ""))
        wanted = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "n"}}
        self.assertEqual(decode(body("v1", "Namespace", raw)), wanted)

    def test_token_request(self) -> None:
        raw = field(2, field(1, "a") + field(1, "b") + field(4, 600))
        item = decode(body("authentication.k8s.io/v1", "TokenRequest", raw))
        self.assertEqual(item["spec"], {"audiences": ["a", "b"], "expirationSeconds": 600})

    def test_what_is_not_known_is_refused(self) -> None:
        for wrong in (
            b'{"kind":"ConfigMap"}',
            body("v1", "Pod", b""),
            body("v2", "ConfigMap", b""),
            body("v1", "ConfigMap", field(9, "x")),
            body("v1", "ConfigMap", field(2, 7)),
            body("v1", "ConfigMap", field(4, "text")[:-1]),
            body("v1", "ConfigMap", b"\x0d\x00\x00\x00\x00"),
            body("v1", "ConfigMap", field(1, field(1, b"\xff"))),
        ):
            self.assertRaises(ProtobufError, decode, wrong)

    @settings(max_examples=200)
    @given(st.binary(max_size=40))
    def test_anything_is_an_object_or_an_error(self, raw: bytes) -> None:
        for data in (b"k8s\x00" + raw, body("v1", "Secret", raw)):
            try:
                item = decode(data)
            except ProtobufError:
                continue
            self.assertEqual(item["apiVersion"], "v1")
