"""The protobuf codec: it decodes metadata by walking fields and keeps everything else as bytes. Pure.

Sources: Kubernetes API concepts, "Kubernetes Protobuf encoding"; generated.proto of
apimachinery/pkg/runtime (Unknown: typeMeta 1, raw 2) and apimachinery/pkg/apis/meta/v1 (ListMeta:
resourceVersion 2, continue 3; ObjectMeta: name 1, namespace 3, uid 5, resourceVersion 6,
deletionTimestamp 9, deletionGracePeriodSeconds 10, labels 11, annotations 12, finalizers 14; WatchEvent:
type 1, object 2).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from sys import intern

from superedge.kube.errors import DecodeError
from superedge.kube.metadata import metadata_json
from superedge.kube.objects import (
    INITIAL_EVENTS_END,
    FieldPath,
    FrameSplitter,
    Item,
    KnownItems,
    Lifecycle,
    ListPage,
    WatchEvent,
    require_name,
)
from superedge.kube.wire import BYTES, VARINT, field, read_varint, walk

MAGIC = b"k8s\x00"
MAX_FRAME = 64 * 1024 * 1024
_UID, _DELETION, _GRACE, _FINALIZERS = 5, 9, 10, 14
_LABELS, _ANNOTATIONS = 11, 12
_CODE = 6


def split_envelope(body: bytes) -> tuple[str, str, bytes]:
    """(kind, apiVersion, inner message) of an envelope. Raises DecodeError."""
    if not body.startswith(MAGIC):
        raise DecodeError("the body does not begin with the prefix of Kubernetes' protobuf")
    kind = api_version = ""
    raw = b""
    for number, wire, start, end in walk(body, len(MAGIC)):
        if wire != BYTES:
            continue
        if number == 1:
            for inner, inner_wire, a, b in walk(body, start, end):
                if inner_wire != BYTES:
                    continue
                if inner == 1:
                    api_version = body[a:b].decode()
                elif inner == 2:
                    kind = body[a:b].decode()
        elif number == 2:
            raw = body[start:end]
    return kind, api_version, raw


def envelope(kind: str, api_version: str, raw: bytes) -> bytes:
    """An inner message in its envelope."""
    type_meta = field(1, api_version.encode()) + field(2, kind.encode())
    # Decoders of the API machinery require contentEncoding and contentType, even if empty.
    return MAGIC + field(1, type_meta) + field(2, raw) + b'\x1a\x00"\x00'


def _item(raw: bytes, kind: str = "", api_version: str = "") -> Item:
    namespace = name = version = ""
    for number, wire, start, end in walk(raw):
        if number == 1 and wire == BYTES:
            for inner, _, a, b in walk(raw, start, end):
                if inner == 1:
                    name = raw[a:b].decode()
                elif inner == 3:
                    namespace = intern(raw[a:b].decode())
                elif inner == 6:
                    version = raw[a:b].decode()
                    break
            break
        if number > 1:
            break
    return Item(namespace, name, version, kind, api_version, raw)


def _text_map(raw: bytes, wanted: int) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, wire, start, end in walk(raw):
        if number != 1 or wire != BYTES:
            continue
        for inner, inner_wire, a, b in walk(raw, start, end):
            if inner != wanted or inner_wire != BYTES:
                continue
            key = value = ""
            for part, part_wire, c, d in walk(raw, a, b):
                if part_wire == BYTES and part == 1:
                    key = raw[c:d].decode()
                elif part_wire == BYTES and part == 2:
                    value = raw[c:d].decode()
            found[key] = value
    return found


def _text_at(raw: bytes, path: FieldPath) -> str:
    start, end, wire = 0, len(raw), BYTES
    if not path.numbers:
        raise DecodeError(f"the number of the field {'.'.join(path.names)} is not known")
    for wanted in path.numbers:
        if wire != BYTES:
            raise DecodeError("a field is not a message")
        for number, wire, a, b in walk(raw, start, end):  # noqa: B007 - the last one's counts
            if number == wanted:
                start, end = a, b
                break
        else:
            return "false" if path.boolean else ""
    if path.boolean:
        return "true" if wire == VARINT and read_varint(raw, start)[0] else "false"
    return raw[start:end].decode(errors="replace") if wire == BYTES else ""


def _named_item(raw: bytes) -> Item:
    return require_name(_item(raw))


class LengthSplitter:
    """Splits a watch in protobuf, where four bytes of big-endian length precede each frame."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that ``data`` completes. Raises DecodeError for one of more than MAX_FRAME bytes."""
        pending = self._pending
        pending += data
        frames = []
        at = 0
        while len(pending) - at >= 4:
            (size,) = struct.unpack_from(">I", pending, at)
            if size > MAX_FRAME:
                raise DecodeError(f"a watch frame of {size} bytes")
            if len(pending) - at - 4 < size:
                break
            frames.append(bytes(pending[at + 4 : at + 4 + size]))
            at += 4 + size
        if at:
            del pending[:at]
        return frames

    @property
    def pending(self) -> int:
        return len(self._pending)

    def framed(self, frame: bytes) -> bytes:
        """With its length before it."""
        return struct.pack(">I", len(frame)) + frame


class ProtobufCodec:
    """`superedge.kube.objects.Codec` for application/vnd.kubernetes.protobuf."""

    shared = b""

    def __init__(self, whole: bool = True) -> None:
        """``whole`` is false for PartialObjectMetadata, which has no other fields."""
        self.whole = whole

    def decode_object(self, body: bytes) -> Item:
        try:
            kind, api_version, raw = split_envelope(body)
            return require_name(_item(raw, kind, api_version))
        except UnicodeDecodeError as problem:
            raise DecodeError(f"not an object in protobuf: {problem}") from problem

    def decode_list(self, body: bytes, known: KnownItems | None = None) -> ListPage:
        read = (known or KnownItems()).read
        try:
            kind, api_version, raw = split_envelope(body)
            if not kind.endswith("List"):
                raise DecodeError(f"not a list in protobuf: kind {kind!r}")
            version = token = ""
            items = []
            for number, wire, start, end in walk(raw):
                if wire != BYTES:
                    continue
                if number == 1:
                    for inner, _, a, b in walk(raw, start, end):
                        if inner == 2:
                            version = raw[a:b].decode()
                        elif inner == 3:
                            token = raw[a:b].decode()
                elif number == 2:
                    items.append(read(raw[start:end], _named_item))
            return ListPage(kind, api_version, version, token, items)
        except UnicodeDecodeError as problem:
            raise DecodeError(f"not a list in protobuf: {problem}") from problem

    def splitter(self) -> FrameSplitter:
        return LengthSplitter()

    def decode_event(self, frame: bytes) -> WatchEvent:
        try:
            type_, body = "", b""
            for number, wire, start, end in walk(frame):
                if number == 1 and wire == BYTES:
                    type_ = frame[start:end].decode()
                elif number == 2 and wire == BYTES:
                    for inner, inner_wire, a, b in walk(frame, start, end):
                        if inner == 1 and inner_wire == BYTES:
                            body = frame[a:b]
            kind, api_version, raw = split_envelope(body)
            if type_ == "ERROR":
                return WatchEvent("ERROR", Item("", "", "", kind, api_version, raw), code=_status_code(raw))
            item = _item(raw, kind, api_version)
            if type_ == "BOOKMARK":
                ended = _text_map(raw, _ANNOTATIONS).get(INITIAL_EVENTS_END) == "true"
                return WatchEvent("BOOKMARK", item, ended)
            return WatchEvent(type_, require_name(item))
        except UnicodeDecodeError as problem:
            raise DecodeError(f"not a watch event in protobuf: {problem}") from problem

    def labels(self, raw: bytes) -> Mapping[str, str]:
        return _text_map(raw, _LABELS)

    def field(self, raw: bytes, path: FieldPath) -> str:
        return _text_at(raw, path)

    def lifecycle(self, raw: bytes) -> Lifecycle:
        found = Lifecycle()
        for number, wire, start, end in walk(raw):
            if number != 1 or wire != BYTES:
                continue
            for inner, inner_wire, a, b in walk(raw, start, end):
                if inner == _UID and inner_wire == BYTES:
                    found = found._replace(uid=raw[a:b].decode(errors="replace"))
                elif inner == _DELETION:
                    found = found._replace(deleting=True)
                elif inner == _FINALIZERS or (inner == _GRACE and read_varint(raw, a)[0]):
                    found = found._replace(kept=True)
        return found

    def metadata(self, raw: bytes) -> bytes:
        return metadata_json(raw)

    def derive(self, metadata: bytes, whole: bytes) -> bytes | None:
        """None: this codec does not encode fields."""
        return None

    def as_of(self, raw: bytes, now: float) -> bytes:
        """The object unchanged: it contains no age."""
        return raw

    def encode_object(self, kind: str, api_version: str, raw: bytes) -> bytes:
        return envelope(kind, api_version, raw)

    def encode_list(self, kind: str, api_version: str, version: str, raws: Iterable[bytes]) -> bytes:
        parts = [field(1, b"\x0a\x00" + field(2, version.encode()) + b"\x1a\x00")]
        parts += [field(2, raw) for raw in raws]
        return envelope(kind, api_version, b"".join(parts))

    def encode_event(self, type_: str, kind: str, api_version: str, raw: bytes, first: bool = True) -> bytes:
        body = field(1, type_.encode()) + field(2, field(1, envelope(kind, api_version, raw)))
        return struct.pack(">I", len(body)) + body

    def encode_bookmark(self, kind: str, api_version: str, version: str, initial_events_end: bool) -> bytes:
        meta = field(6, version.encode())
        if initial_events_end:
            meta += field(_ANNOTATIONS, field(1, INITIAL_EVENTS_END.encode()) + field(2, b"true"))
        return self.encode_event("BOOKMARK", kind, api_version, field(1, meta))


def _status_code(raw: bytes) -> int:
    for number, wire, start, _ in walk(raw):
        if number == _CODE and wire == 0:
            return read_varint(raw, start)[0]
    return 0
