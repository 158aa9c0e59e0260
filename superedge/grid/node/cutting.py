"""Cuts endpoints of other sites out of encoded objects, which are not decoded further. Pure.

Sources: discovery.k8s.io/v1 EndpointSlice (endpoints 2; Endpoint: nodeName 6) and core v1 Endpoints (subsets
2; EndpointSubset: addresses 1, notReadyAddresses 2; EndpointAddress: nodeName 4) in generated.proto.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from superedge.grid.node.topology import Site
from superedge.kube.endpoints import ENDPOINT_SLICES, ENDPOINTS, service_in, service_of
from superedge.kube.errors import JSON_FAULTS, DecodeError
from superedge.kube.media import PROTOBUF
from superedge.kube.wire import BYTES, field, read_varint, walk

_ENDPOINTS, _SLICE_NODE = 0x12, 0x32
_SUBSETS = 2
_ADDRESSES, _NOT_READY, _ADDRESS_NODE = 0x0A, 0x12, 0x22


Choose = Callable[[tuple[str, str]], Site | None]
"""Finds the site for a Service's namespace and name; None for all endpoints."""


def cut_slice(raw: bytes, choose: Choose) -> bytes:
    """An EndpointSlice in protobuf with the endpoints of the site; the same ``raw`` if that is all."""
    site = choose(service_of(ENDPOINT_SLICES, PROTOBUF, raw))
    if site is None:
        return raw
    return _cut(raw, 0, len(raw), (_ENDPOINTS,), _SLICE_NODE, site)


def cut_endpoints(raw: bytes, choose: Choose) -> bytes:
    """An Endpoints object in protobuf with the addresses of the site, without empty subsets."""
    site = choose(service_of(ENDPOINTS, PROTOBUF, raw))
    if site is None:
        return raw
    pieces = []
    kept = last = 0
    for number, wire, start, end in walk(raw):
        if number == _SUBSETS and wire == BYTES:
            subset = raw[start:end]
            shown = _cut(subset, 0, len(subset), (_ADDRESSES, _NOT_READY), _ADDRESS_NODE, site)
            if shown is not subset:
                pieces.append(raw[kept:last])
                if any(number in (1, 2) for number, _, _, _ in walk(shown)):
                    pieces.append(field(_SUBSETS, shown))
                kept = end
        last = end
    if not pieces:
        return raw
    pieces.append(raw[kept:])
    return b"".join(pieces)


def _cut(raw: bytes, at: int, end: int, tags: tuple[int, ...], node_tag: int, site: Site) -> bytes:
    """A message without those fields with ``tags`` whose node, a field of theirs, is not in the site."""
    found = site.pattern(node_tag)
    hits = [match.start() for match in found.finditer(raw)] if found is not None else []
    hits.append(end + 1)
    hit = 0
    pieces = []
    kept = at
    while at < end:
        tag, size = raw[at], raw[at + 1] if at + 1 < end else 0x80
        if tag & 7 != BYTES or tag > 0x7F:
            at = next(walk(raw, at, end))[3]
            continue
        if size < 0x80:
            start = at + 2
        else:
            size, start = read_varint(raw, at + 1)
        after = start + size
        if after > end:
            raise DecodeError("the message ends within a field")
        if tag in tags:
            if found is not None:
                while hits[hit] < start:
                    hit += 1
            # Without a hit, no field of it can be the name of one of the site's nodes.
            if (found is not None and hits[hit] >= after) or (
                _node(raw, start, after, node_tag) not in site.names
            ):
                if kept < at:
                    pieces.append(raw[kept:at])
                kept = after
        at = after
    if not pieces and kept == 0:
        return raw
    pieces.append(raw[kept:end])
    return b"".join(pieces)


def _node(raw: bytes, at: int, end: int, node_tag: int) -> bytes:
    """The text in the field with ``node_tag`` of the message between two places; empty without it."""
    while at + 1 < end:
        tag, size = raw[at], raw[at + 1]
        if size > 0x7F or tag & 7 != BYTES or tag > 0x7F:
            for number, wire, start, after in walk(raw, at, end):
                if wire == BYTES and number == node_tag >> 3:
                    return raw[start:after]
            return b""
        at += 2
        if tag == node_tag:
            return raw[at : at + size]
        at += size
    return b""


class _Endpoint(msgspec.Struct):
    nodeName: str | None = None


_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_raws = msgspec.json.Decoder(list[msgspec.Raw] | None)
_nodes = msgspec.json.Decoder(list[_Endpoint] | None)
_subsets = msgspec.json.Decoder(list[dict[str, msgspec.Raw]] | None)
_NONE = msgspec.Raw(b"null")


def cut_slice_json(raw: bytes, choose: Choose) -> bytes:
    """`cut_slice` for JSON."""
    try:
        fields: dict[str, Any] = _fields.decode(raw)
        site = choose(service_in(ENDPOINT_SLICES, fields.get("metadata", _NONE)))
        shown = None if site is None else _chosen(fields.get("endpoints", _NONE), site)
    except JSON_FAULTS as problem:
        raise DecodeError(f"not an EndpointSlice in JSON: {problem}") from problem
    if shown is None:
        return raw
    fields["endpoints"] = shown
    return msgspec.json.encode(fields)


def cut_endpoints_json(raw: bytes, choose: Choose) -> bytes:
    """`cut_endpoints` for JSON."""
    try:
        fields: dict[str, Any] = _fields.decode(raw)
        site = choose(service_in(ENDPOINTS, fields.get("metadata", _NONE)))
        if site is None:
            return raw
        subsets = _subsets.decode(fields.get("subsets", _NONE)) or []
        changed = False
        for subset in subsets:
            for key in ("addresses", "notReadyAddresses"):
                if key in subset and (shown := _chosen(subset[key], site)) is not None:
                    changed = True
                    subset[key] = shown
                    if bytes(shown) == b"[]":
                        del subset[key]
    except JSON_FAULTS as problem:
        raise DecodeError(f"not an Endpoints object in JSON: {problem}") from problem
    if not changed:
        return raw
    fields["subsets"] = [each for each in subsets if "addresses" in each or "notReadyAddresses" in each]
    return msgspec.json.encode(fields)


def _chosen(encoded: msgspec.Raw, site: Site) -> msgspec.Raw | None:
    """The list with the entries of these nodes; None if that is all of them."""
    nodes = _nodes.decode(encoded) or []
    keep = [(each.nodeName or "").encode() in site.names for each in nodes]
    if all(keep):
        return None
    raws = _raws.decode(encoded) or []
    return msgspec.Raw(
        b"[%b]" % b",".join(bytes(each) for each, kept in zip(raws, keep, strict=True) if kept)
    )
