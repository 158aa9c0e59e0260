"""The cluster's objects in one file, so that a start without the cloud has them."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from superedge.dns.cluster.objects import Service, Slice
from superedge.errors import SuperEdgeError
from superedge.kube.reflector import Key

_MAGIC = b"superedge-dns-1\n"
_DIGEST = 32


class SnapshotError(SuperEdgeError):
    """The file is there and cannot be used."""


class Snapshot(msgspec.Struct, array_like=True):
    """What the file holds; a key is (namespace, name)."""

    services: list[tuple[Key, Service]]
    slices: list[tuple[Key, Slice]]


def encode_snapshot(services: Mapping[Key, Service], slices: Mapping[Key, Slice]) -> bytes:
    """The file's bytes."""
    body = msgspec.msgpack.encode(Snapshot(list(services.items()), list(slices.items())))
    return _MAGIC + hashlib.sha256(body).digest() + body


def read_snapshot(path: Path) -> Snapshot | None:
    """What was written last; None when there is no file. Raises SnapshotError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise SnapshotError(f"{path} cannot be read: {problem.strerror}") from problem
    body = data[len(_MAGIC) + _DIGEST :]
    if data[: len(_MAGIC) + _DIGEST] != _MAGIC + hashlib.sha256(body).digest():
        raise SnapshotError(f"{path} is damaged, or of another version")
    try:
        return msgspec.msgpack.decode(body, type=Snapshot)
    except msgspec.MsgspecError as problem:
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
