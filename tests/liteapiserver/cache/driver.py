"""A cache that is fed what an API server would send, and asked as a client would."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from typing import Any

from superedge.config.liteapiserver import CacheRuleConfig
from superedge.interfaces import Entry
from superedge.kube.deletion import is_dry_run
from superedge.kube.request import RequestInfo, parse_request
from superedge.liteapiserver.cache.answers import Answer, WatchAnswer
from superedge.liteapiserver.cache.cache import Cache
from superedge.liteapiserver.cache.eviction import Limits
from superedge.liteapiserver.cache.policy import Policy
from superedge.liteapiserver.cache.recorders import Recorder

ME = "cert:system:node:edge-1"
PODS = "/api/v1/namespaces/default/pods"
JSON = "application/json"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
COLUMNS = [{"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}]
UNLIMITED = Limits(1_000_000_000, 1_000_000)

Object = dict[str, Any]


def pod(name: str, version: int | str, namespace: str = "default", **labels: str) -> Object:
    meta: Object = {"name": name, "namespace": namespace, "resourceVersion": str(version)}
    return {"metadata": {**meta, "labels": labels} if labels else meta, "spec": {}}


def list_of(items: Sequence[Object], version: int | str, kind: str = "PodList", token: str = "") -> bytes:
    meta = {"resourceVersion": str(version), **({"continue": token} if token else {})}
    return json.dumps({"kind": kind, "apiVersion": "v1", "metadata": meta, "items": items}).encode()


def row(name: str, version: int | str, namespace: str = "default", **labels: str) -> Object:
    target = {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        **pod(name, version, namespace),
    }
    target["metadata"] |= {"labels": labels}
    return {"cells": [name], "object": target}


def table(rows: Sequence[Object], version: int | str, columns: Sequence[Object] | None = COLUMNS) -> Object:
    meta = {"resourceVersion": str(version)}
    start = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
    return {**start, "columnDefinitions": columns, "rows": rows}


def typed(item: Object, kind: str = "Pod") -> Object:
    return {"kind": kind, "apiVersion": "v1", **item}


def event(type_: str, item: Object) -> bytes:
    return json.dumps({"type": type_, "object": typed(item)}).encode() + b"\n"


def bookmark(version: int, end: bool = False) -> bytes:
    meta: Object = {"resourceVersion": str(version), "creationTimestamp": None}
    if end:
        meta["annotations"] = {"k8s.io/initial-events-end": "true"}
    return event("BOOKMARK", {"metadata": meta})


def request(target: str, accept: str = JSON, method: str = "GET") -> RequestInfo:
    return parse_request(method.encode(), target.encode(), accept.encode())


def gzipped(pieces: Iterable[bytes]) -> bytes:
    """Each piece a member of its own, as the API server flushes."""
    return b"".join(gzip.compress(piece) for piece in pieces)


class Driver:
    """``records`` is what a store would hold."""

    def __init__(
        self,
        rules: Sequence[CacheRuleConfig] = (),
        max_body: int = 1_000_000,
        limits: Limits = UNLIMITED,
    ) -> None:
        self.now = 1000.0
        self.records: dict[tuple[str, tuple[str, ...]], bytes] = {}
        self._rules = rules
        self._max_body = max_body
        self._limits = limits
        self.commits = 0
        self.cache = self._make()

    def _make(self) -> Cache:
        return Cache(Policy(self._rules), self._commit, self._max_body, self._limits, lambda: self.now)

    def _commit(self, kind: str, key: tuple[str, ...], value: bytes | None) -> None:
        self.commits += 1
        if value is None:
            self.records.pop((kind, key), None)
        else:
            self.records[kind, key] = value

    def reboot(self) -> None:
        """A new process with what the store holds."""
        entries = [Entry(kind, key, value) for (kind, key), value in self.records.items()]
        self.cache = self._make()
        self.cache.load(entries)

    def begin(
        self,
        target: str,
        status: int = 200,
        accept: str = JSON,
        identity: str = ME,
        content_type: str = "",
        encoding: bytes = b"",
        etag: bytes = b"",
        audited: bool = True,
    ) -> Recorder | None:
        kind = (content_type or accept.split(",")[0].split(";")[0]).encode()
        asked = request(target, accept)
        known = self.cache.baseline(identity, asked)
        return self.cache.record(identity, asked, status, kind, encoding, etag, audited, known)

    def feed(self, target: str, body: bytes, status: int = 200, **options: Any) -> None:
        """A whole answer."""
        recorder = self.begin(target, status, **options)
        if recorder is not None:
            recorder.data([body])
            recorder.complete()

    def begin_write(
        self,
        method: str,
        target: str,
        accept: str = JSON,
        identity: str = ME,
        options: bytes = b"",
    ) -> Recorder | None:
        """A write that succeeds; ``options`` are the body of a deletion."""
        asked = request(target, accept, method)
        known = self.cache.baseline(identity, asked)
        kind = accept.split(",")[0].split(";")[0].encode()
        return self.cache.record_write(identity, asked, kind, b"", known, lambda: is_dry_run(options))

    def write(self, method: str, target: str, body: bytes, **options: Any) -> None:
        """A write that succeeds, and its whole answer."""
        recorder = self.begin_write(method, target, **options)
        if recorder is not None:
            recorder.data([body])
            recorder.complete()

    def watch(self, target: str, *frames: bytes, **options: Any) -> Recorder:
        """A watch that goes on."""
        recorder = self.begin(f"{target}{'&' if '?' in target else '?'}watch=true", **options)
        assert recorder is not None
        for frame in frames:
            recorder.data([frame])
        return recorder

    def ask(
        self, target: str, accept: str = JSON, identity: str = ME, none_match: str = ""
    ) -> Answer | WatchAnswer:
        return self.cache.answer(identity, request(target, accept), none_match)

    def status(self, target: str, **options: Any) -> int:
        answer = self.ask(target, **options)
        return answer.status if isinstance(answer, Answer) else 200

    def get(self, target: str, **options: Any) -> Any:
        answer = self.ask(target, **options)
        assert isinstance(answer, Answer)
        assert answer.status == 200, answer.body
        return json.loads(answer.body)

    def names(self, target: str, **options: Any) -> list[str]:
        return sorted(item["metadata"]["name"] for item in self.get(target, **options)["items"])

    def events(self, target: str, **options: Any) -> list[tuple[str, str, str]]:
        """What a watch begins with: type, name, version; the end bookmark is named END."""
        answer = self.ask(f"{target}{'&' if '?' in target else '?'}watch=true", **options)
        assert isinstance(answer, WatchAnswer), answer
        found = []
        for frame in answer.frames:
            decoded = json.loads(frame)
            meta = decoded["object"]["metadata"]
            name = "END" if "annotations" in meta else meta.get("name", "")
            found.append((decoded["type"], name, meta["resourceVersion"]))
        return found
