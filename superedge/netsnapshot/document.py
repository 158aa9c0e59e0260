"""The snapshot as JSON with a checksum. Pure."""

from __future__ import annotations

import hashlib

import msgspec

from superedge.errors import SuperEdgeError
from superedge.kube.errors import JSON_FAULTS
from superedge.netsnapshot.facts import OPTIONS, Facts

FORMAT = 1
MAX_BYTES = 16 * 1024 * 1024
"""Maximum bytes of a snapshot; more is not one."""


class SnapshotError(SuperEdgeError):
    """A snapshot that cannot be used."""


class Snapshot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The network of ``node`` at ``time`` (seconds since 1970) in the boot ``boot_id``.

    ``pod_cidrs`` are the node's, empty when unknown. ``files`` are texts of files by path, ``ipam`` those of
    superedge-ipam's state files by network.
    """

    node: str
    boot_id: str
    time: float
    facts: Facts
    pod_cidrs: tuple[str, ...] = ()
    files: dict[str, str] = {}
    ipam: dict[str, str] = {}


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    format: int
    sha256: str
    snapshot: msgspec.Raw


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """One JSON object: ``format``, ``sha256`` of the bytes of ``snapshot``, and ``snapshot``."""
    body = msgspec.json.encode(snapshot)
    digest = hashlib.sha256(body).hexdigest()
    return msgspec.json.encode(_Document(FORMAT, digest, msgspec.Raw(body))) + b"\n"


def decode_snapshot(data: bytes) -> Snapshot:
    """Raises SnapshotError with a clause such as ``is damaged``."""
    try:
        document = msgspec.json.decode(data, type=_Document)
    except JSON_FAULTS as problem:
        raise SnapshotError("is damaged or cut off") from problem
    if document.format != FORMAT:
        raise SnapshotError(f"has the format {document.format}; this version reads {FORMAT}")
    body = bytes(document.snapshot)
    if hashlib.sha256(body).hexdigest() != document.sha256:
        raise SnapshotError("is damaged: its checksum does not match")
    try:
        snapshot = msgspec.json.decode(body, type=Snapshot)
    except JSON_FAULTS as problem:
        raise SnapshotError(f"is of another version: {problem}") from problem
    for link in snapshot.facts.links:
        # Root makes these devices, so nothing else is taken from a file that another user may write.
        if link.kind not in OPTIONS or link.options.keys() - OPTIONS[link.kind].keys():
            raise SnapshotError(f"is of another version: the kind or an option of {link.name} is unknown")
    return snapshot
