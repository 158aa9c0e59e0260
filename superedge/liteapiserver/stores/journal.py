"""An append-only file of atomic batches. Blocking; the file store uses it in a thread."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import msgspec
from twisted.logger import Logger

from superedge.interfaces import Change
from superedge.kube.errors import JSON_FAULTS
from superedge.liteapiserver import metrics
from superedge.liteapiserver.stores.keys import Key, interned

_HEAD = struct.Struct(">I16s")
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[tuple[str, Key, msgspec.Raw]])
_value = msgspec.msgpack.Decoder(bytes | None)

Records = dict[tuple[str, Key], msgspec.Raw]
"""The latest record of each kind and key, still in the journal's memory: `value_of` copies its value."""

_log = Logger()


def _digest(payload: bytes | memoryview) -> bytes:
    return blake2b(payload, digest_size=16).digest()


def read_records(data: bytes | bytearray) -> tuple[Records, int]:
    """The latest records of the intact batches at the start, and the offset where these end.

    Batches after a damaged one, or one in the format of another version, are ignored, as they may depend on
    it: the result is an older state.
    """
    records: Records = {}
    view = memoryview(data)
    at = 0
    while len(data) - at >= _HEAD.size:
        size, digest = _HEAD.unpack_from(data, at)
        payload = view[at + _HEAD.size : at + _HEAD.size + size]
        if len(payload) < size or _digest(payload) != digest:
            break
        try:
            batch = {(kind, interned(key)): value for kind, key, value in _decoder.decode(payload)}
            for value in batch.values():
                value_of(value)
        except JSON_FAULTS:
            break
        records |= batch
        at += _HEAD.size + size
    return records, at


def value_of(record: msgspec.Raw) -> bytes | None:
    """A record's bytes, None when it was deleted."""
    value: bytes | None = _value.decode(record)
    return value


class Journal:
    """Batches, each as length, digest and payload."""

    def __init__(self, path: Path) -> None:
        """Open or create the file. Raises OSError."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.size = 0
        """Bytes of intact batches; what follows is torn and is overwritten."""

    def read(self) -> Records:
        """The records of the intact batches at the start; what follows is torn or damaged, and dropped."""
        data = bytearray()
        os.lseek(self._file, 0, os.SEEK_SET)
        while chunk := os.read(self._file, 1024 * 1024):
            data += chunk
        records, self.size = read_records(data)
        if len(data) > self.size:
            metrics.CORRUPT_ENTRIES.inc()
            _log.warn("dropped {size} bytes at the journal's end", size=len(data) - self.size)
        return records

    def append(self, changes: Sequence[Change]) -> None:
        """Make one batch durable. Raises OSError; then the batch is not there."""
        payload = _encoder.encode([(change.kind, change.key, change.value) for change in changes])
        os.ftruncate(self._file, self.size)
        at = self.size
        for part in (_HEAD.pack(len(payload), _digest(payload)), payload):
            left = memoryview(part)
            while left:
                count = os.pwrite(self._file, left, at)
                left = left[count:]
                at += count
        os.fdatasync(self._file)
        self.size = at

    def clear(self) -> None:
        """Remove every batch. Raises OSError."""
        os.ftruncate(self._file, 0)
        os.fsync(self._file)
        self.size = 0

    def close(self) -> None:
        """Release the file."""
        os.close(self._file)
