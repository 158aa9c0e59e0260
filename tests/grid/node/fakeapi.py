"""An API server of Services, nodes and EndpointSlices, in JSON and protobuf, for a `World`'s upstream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from superedge.kube.codecs import codec_for
from superedge.kube.media import JSON, PROTOBUF, Representation, accepted
from superedge.kube.wire import BYTES, field, number_field, walk
from tests.liteapiserver.world import Seen, Upstream

Object = dict[str, Any]
SERVICES, NODES = "/api/v1/services", "/api/v1/nodes"
SLICES, ENDPOINTS = "/apis/discovery.k8s.io/v1/endpointslices", "/api/v1/endpoints"
KINDS = {
    SERVICES: ("v1", "Service"),
    NODES: ("v1", "Node"),
    SLICES: ("discovery.k8s.io/v1", "EndpointSlice"),
    ENDPOINTS: ("v1", "Endpoints"),
}


def encode(item: Object) -> bytes:
    """A slice, or an Endpoints object, in protobuf."""
    meta = item["metadata"]
    raw = field(1, meta["name"].encode()) + field(3, meta["namespace"].encode())
    raw += field(6, meta["resourceVersion"].encode())
    for key, value in meta.get("labels", {}).items():
        raw += field(11, field(1, key.encode()) + field(2, value.encode()))
    parts = [field(1, raw)]
    for each in item.get("endpoints", ()):
        parts.append(field(2, _endpoint(each)))
    for subset in item.get("subsets", ()):
        inner = b"".join(field(1, _address(each)) for each in subset.get("addresses", ()))
        inner += b"".join(field(2, _address(each)) for each in subset.get("notReadyAddresses", ()))
        parts.append(field(2, inner + field(3, field(1, b"http") + number_field(2, 80))))
    if "addressType" in item:
        parts.append(field(3, field(2, b"TCP") + number_field(3, 8080)))
        parts.append(field(4, item["addressType"].encode()))
    return b"".join(parts)


def _endpoint(each: Object) -> bytes:
    raw = b"".join(field(1, address.encode()) for address in each["addresses"])
    raw += field(2, number_field(1, 1) + number_field(2, 1) + number_field(3, 0))
    if "pod" in each:
        raw += field(
            4, field(1, b"Pod") + field(3, each["pod"].encode()) + field(4, each.get("uid", "").encode())
        )
    return raw + (field(6, each["nodeName"].encode()) if "nodeName" in each else b"")


def _address(each: Object) -> bytes:
    node = field(4, each["nodeName"].encode()) if "nodeName" in each else b""
    return field(1, each["ip"].encode()) + node


def decode(raw: bytes) -> Object:
    """A slice from protobuf: what the tests compare."""
    found: Object = {"endpoints": []}
    for number, wire, a, b in walk(raw):
        if number == 4 and wire == BYTES:
            found["addressType"] = raw[a:b].decode()
        elif number == 2:
            parts = {inner: raw[c:d] for inner, kind, c, d in walk(raw, a, b) if kind == BYTES}
            each: Object = {"addresses": [parts[1].decode()]}
            if 6 in parts:
                each["nodeName"] = parts[6].decode()
            found["endpoints"].append(each)
    return found


@dataclass
class _Watch:
    path: str
    seen: Seen
    form: Representation
    bookmarks: bool
    body: Any

    def send(self, type_: str, item: Object, end: bool = False) -> None:
        if self.body.lost:
            return
        codec, (api_version, kind) = codec_for(self.form), KINDS[self.path]
        assert codec is not None
        if type_ == "BOOKMARK":
            frame = codec.encode_bookmark(kind, api_version, item["metadata"]["resourceVersion"], end)
        else:
            frame = codec.encode_event(type_, *_typed(self.form, self.path), encoded(self.form, item))
        self.seen.request.write([frame])
        self.seen.request.flush()


def _typed(form: Representation, path: str) -> tuple[str, str]:
    if form.kind:
        return "PartialObjectMetadata", "meta.k8s.io/v1"
    return KINDS[path][1], KINDS[path][0]


def encoded(form: Representation, item: Object) -> bytes:
    """An object as the API server sends it, without kind."""
    if form.kind:
        return json.dumps({"metadata": item["metadata"]}).encode()
    return encode(item) if form.media_type == PROTOBUF else json.dumps(item).encode()


class FakeAPI:
    """Keeps objects and their history, and answers lists and watches."""

    def __init__(self, upstream: Upstream) -> None:
        self.version = 100
        self.objects: dict[str, dict[tuple[str, str], Object]] = {path: {} for path in KINDS}
        self._history: list[tuple[int, str, str, Object]] = []
        self._watches: list[_Watch] = []
        self._upstream = upstream
        self.slow: set[str] = set()
        """Collections whose metadata watches get no events for the time being."""
        self.oldest = 0
        """Watches from before this version are answered 410."""
        self.asked: list[tuple[str, dict[str, str], str]] = []
        for path in KINDS:
            upstream.answers[path.encode()] = self._answer

    # -- what changes

    def put(self, path: str, name: str, item: Object, namespace: str = "") -> None:
        """Create or replace an object."""
        self.version += 1
        key = (namespace, name)
        type_ = "MODIFIED" if key in self.objects[path] else "ADDED"
        meta = {**item.get("metadata", {}), "name": name, "resourceVersion": str(self.version)}
        if namespace:
            meta["namespace"] = namespace
        made = self.objects[path][key] = {**item, "metadata": meta}
        self._changed(path, type_, made)

    def delete(self, path: str, name: str, namespace: str = "") -> None:
        """Delete an object."""
        self.version += 1
        gone = self.objects[path].pop((namespace, name))
        meta = {**gone["metadata"], "resourceVersion": str(self.version)}
        self._changed(path, "DELETED", {**gone, "metadata": meta})

    def _changed(self, path: str, type_: str, item: Object) -> None:
        self._history.append((self.version, path, type_, item))
        for watch in self._watches:
            if watch.path == path and not (watch.form.kind and path in self.slow):
                watch.send(type_, item)

    def catch_up(self) -> None:
        """The slow watches end, so that they are resumed, and get what they missed."""
        slow, self.slow = self.slow, set()
        for watch in [each for each in self._watches if each.path in slow and each.form.kind]:
            self._watches.remove(watch)
            if not watch.body.lost:
                watch.seen.request.finish()

    def bookmark(self) -> None:
        """Send bookmarks to who takes them."""
        for watch in self._watches:
            if watch.bookmarks and not (watch.form.kind and watch.path in self.slow):
                watch.send("BOOKMARK", {"metadata": {"resourceVersion": str(self.version)}})

    # -- what is asked

    def _answer(self, seen: Seen) -> None:
        path, _, query = seen.target.decode().partition("?")
        asked = dict(parse_qsl(query))
        accept = {name.lower(): value for name, value in seen.request.head.headers}.get(
            b"accept", b""
        ).decode()
        self.asked.append((path, asked, accept))
        form = accepted(accept)[0]
        if asked.get("watch"):
            assert "List" not in accept, "the API server ends such a watch at its first event"
            self._watch(seen, path, asked, form)
            return
        codec, (kind, api_version) = codec_for(form), _typed(form, path)
        assert codec is not None
        raws = [encoded(form, item) for item in self.objects[path].values()]
        body = codec.encode_list(f"{kind}List", api_version, str(self.version), raws)
        seen.request.respond(200, self._headers(form.media_type), body)

    def _headers(self, media_type: str) -> list[tuple[bytes, bytes]]:
        return [(b"Content-Type", media_type.encode()), (b"Audit-Id", b"1")]

    def _watch(self, seen: Seen, path: str, asked: dict[str, str], form: Representation) -> None:
        version = int(asked.get("resourceVersion") or 0)
        initial = asked.get("sendInitialEvents") == "true"
        if version and version < self.oldest:
            status = {"kind": "Status", "code": 410, "reason": "Expired"}
            seen.request.respond(410, self._headers(JSON), json.dumps(status).encode())
            return
        seen.request.start(200, b"OK", self._headers(form.stream_type), False)
        seen.request.flush()
        body = next(each for each in reversed(self._upstream.bodies) if each.seen is seen)
        watch = _Watch(path, seen, form, asked.get("allowWatchBookmarks") == "true", body)
        if initial or not version:
            for item in self.objects[path].values():
                watch.send("ADDED", item)
            if initial:
                watch.send("BOOKMARK", {"metadata": {"resourceVersion": str(self.version)}}, end=True)
        else:
            for _, _, type_, item in self.since(path, version):
                watch.send(type_, item)
        self._watches.append(watch)

    def since(self, path: str, version: int) -> Iterator[tuple[int, str, str, Object]]:
        """The history of a collection after a version."""
        return (each for each in self._history if each[0] > version and each[1] == path)
