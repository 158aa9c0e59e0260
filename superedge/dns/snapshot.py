"""Files that a start without the cloud begins with: the cluster's objects, and upstream servers' answers."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from superedge.dns.cluster.objects import Service, Slice
from superedge.errors import SuperEdgeError
from superedge.kube.errors import JSON_FAULTS
from superedge.kube.reflector import Key

_OBJECTS = b"superedge-dns-1\n"
_ANSWERS = b"superedge-dns-cache-1\n"
_DIGEST = 32

T = TypeVar("T")


class SnapshotError(SuperEdgeError):
    """The file is there and cannot be used."""


class Snapshot(msgspec.Struct, array_like=True):
    """What the file holds; a key is (namespace, name)."""

    services: list[tuple[Key, Service]]
    slices: list[tuple[Key, Slice]]


class KeptAnswer(msgspec.Struct, array_like=True):
    """An answer of the cache; ``expired`` is when its life ends, in seconds since 1970."""

    name: bytes
    kind: int
    qclass: int
    dnssec_ok: bool
    checking_disabled: int
    code: int
    counts: tuple[int, int, int]
    records: bytes
    authentic: bool
    ttls: tuple[int, ...]
    expired: float


def encode_snapshot(services: Mapping[Key, Service], slices: Mapping[Key, Slice]) -> bytes:
    """The file's bytes."""
    return _sealed(_OBJECTS, msgspec.msgpack.encode(Snapshot(list(services.items()), list(slices.items()))))


def encode_answers(answers: Sequence[KeptAnswer]) -> bytes:
    """The file's bytes."""
    return _sealed(_ANSWERS, msgspec.msgpack.encode(answers))


def read_snapshot(path: Path) -> Snapshot | None:
    """What was written last; None when there is no file. Raises SnapshotError."""
    return _read(path, _OBJECTS, Snapshot)


def read_answers(path: Path) -> list[KeptAnswer]:
    """What was written last; nothing when there is no file. Raises SnapshotError."""
    return _read(path, _ANSWERS, list[KeptAnswer]) or []


def _sealed(magic: bytes, body: bytes) -> bytes:
    return magic + hashlib.sha256(body).digest() + body


def _read(path: Path, magic: bytes, kind: type[T]) -> T | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise SnapshotError(f"{path} cannot be read: {problem.strerror}") from problem
    body = data[len(magic) + _DIGEST :]
    if data[: len(magic) + _DIGEST] != magic + hashlib.sha256(body).digest():
        raise SnapshotError(f"{path} is damaged, or of another version")
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except JSON_FAULTS as problem:
        raise SnapshotError(f"{path} is of another version: {problem}") from problem


def write_snapshot(path: Path, data: bytes) -> None:
    """Put ``data`` in the place of the file, whole or not at all. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with open(file, "wb") as out:
            os.fchmod(file, 0o600)
            out.write(data)
            out.flush()
            os.fsync(file)
        os.replace(new, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
