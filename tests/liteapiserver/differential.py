"""Random operations of the API, asked directly and through lite-apiserver: the answers must be the same.

Writes are made in two namespaces, one each way; their answers are compared without what the API server
makes up (versions, uids, times). A read is asked of one namespace both ways and compared byte for byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random
from typing import Any

from superedge.testing.contracts.client import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    PARTIAL,
    PARTIAL_LIST,
    STRATEGIC_PATCH,
    TABLE,
    Answer,
    Client,
)
from tests.liteapiserver.link import Link
from tests.liteapiserver.proxied import ProxiedServer

JSON = "application/json"
PROTOBUF = "application/vnd.kubernetes.protobuf"
GROUP = "differential.example"
NAMES = ("one", "two", "three", "four")
LABELS: tuple[dict[str, str], ...] = ({}, {"app": "web"}, {"app": "db", "tier": "back"})
DISCOVERY = (
    "/api",
    "/apis",
    "/api/v1",
    "/apis/apps/v1",
    f"/apis/{GROUP}/v1",
    "/apis/nothing.example/v1",
    "/version",
    "/openapi/v3",
    "/healthz",
    "/nothing",
)
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
# What two answers to one question may differ in.
_ADDRESS = re.compile(rb"127\.0\.0\.1:\d+")
_PASSING_HEADERS = frozenset({"date", "audit-id"})
_MADE_UP = frozenset({"resourceVersion", "uid", "creationTimestamp", "time", "continue", "deletionTimestamp"})
_SLICE = {"watch": "true", "timeoutSeconds": "1"}
Object = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A resource and how to make one."""

    path: str
    api_version: str
    kind: str
    content: Callable[[int], Object]
    builtin: bool = True


def _pod(number: int) -> Object:
    container = {"name": "main", "image": f"test.local/box:{number}"}
    return {"spec": {"containers": [container], "automountServiceAccountToken": False}}


def _deployment(number: int) -> Object:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": _pod(number)["spec"]}
    return {"spec": {"replicas": number, "selector": {"matchLabels": labels}, "template": template}}


def _secret(number: int) -> Object:
    return {"stringData": {"key": str(number)}}


KINDS = {
    "configmaps": Kind("/api/v1", "v1", "ConfigMap", lambda number: {"data": {"number": str(number)}}),
    "secrets": Kind("/api/v1", "v1", "Secret", _secret),
    "pods": Kind("/api/v1", "v1", "Pod", _pod),
    "deployments": Kind("/apis/apps/v1", "apps/v1", "Deployment", _deployment),
    "tills": Kind(
        f"/apis/{GROUP}/v1", f"{GROUP}/v1", "Till", lambda number: {"spec": {"drawer": number}}, False
    ),
}
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"tills.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"plural": "tills", "singular": "till", "kind": "Till", "listKind": "TillList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                },
            }
        ],
    },
}


@dataclass(frozen=True)
class Call:
    """One request; ``NS`` in its path and body stands for the namespace."""

    method: str
    path: str
    body: Any = None
    accept: str = JSON
    content_type: str = JSON
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def of(self, client: Client, namespace: str) -> Answer:
        """Ask it in a namespace."""
        body = self.body
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).replace("NS", namespace).encode()
        return client.call(
            self.method,
            self.path.replace("NS", namespace),
            body,
            accept=self.accept,
            content_type=self.content_type,
            headers=self.headers,
            **self.query,
        )


def without_made_up(value: Any, namespace: str) -> Any:
    """A body without what differs from one creation to the next."""
    if isinstance(value, dict):
        kept = {key: without_made_up(each, namespace) for key, each in value.items() if key not in _MADE_UP}
        if "generateName" in kept:
            kept.pop("name", None)
        return kept
    if isinstance(value, list):
        return [without_made_up(each, namespace) for each in value]
    return value.replace(namespace, "NS") if isinstance(value, str) else value


def _untyped(body: Any) -> Any:
    """A list whose items do not say what they are: those of a list do not, those of a watch do.

    A Table's cells tell ages, which change by themselves.
    """
    for key in ("items", "rows"):
        if key in body:
            body[key] = body[key] or []  # Go has null for some empty lists
    if body.get("metadata", {}).get("continue") == "":
        del body["metadata"]["continue"]  # custom resources have it
    ages = [at for at, column in enumerate(body.get("columnDefinitions") or ()) if column["name"] == "Age"]
    for row in body.get("rows") or ():
        row["cells"] = [cell for at, cell in enumerate(row["cells"]) if at not in ages]
    for item in body.get("items") or ():
        item.pop("kind", None)
        item.pop("apiVersion", None)
    return body


def _headers(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in _PASSING_HEADERS}


class Differential:
    """``direct`` and ``proxied`` are one user's clients, ``namespaces`` those for either's writes."""

    def __init__(
        self, seed: int, direct: Client, proxied: Client, namespaces: tuple[str, str], protobuf: bool
    ) -> None:
        self.random = Random(seed)
        self.direct = direct
        self.proxied = proxied
        self.namespaces = namespaces
        self._protobuf = protobuf
        self.history: list[str] = []

    def prepare(self) -> None:
        """Make what the operations need."""
        self.direct.call("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", DEFINITION)
        for namespace in self.namespaces:
            body = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": namespace}}
            assert self.direct.call("POST", "/api/v1/namespaces", body).status == 201
            account = {"kind": "ServiceAccount", "apiVersion": "v1", "metadata": {"name": "default"}}
            self.direct.call("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", account)

    def versions(self) -> dict[str, str]:
        """Of each namespace, the version from which a watch sees everything from now on."""
        found = {}
        for namespace in self.namespaces:
            listed = Call("GET", "/api/v1/namespaces/NS/configmaps").of(self.direct, namespace)
            found[namespace] = listed.json["metadata"]["resourceVersion"]
        return found

    def clean(self) -> None:
        """Take the namespaces away."""
        for namespace in self.namespaces:
            self.direct.call("DELETE", f"/api/v1/namespaces/{namespace}")

    # -- operations

    def run(self, steps: int) -> None:
        """Do so many random operations. Raises AssertionError where the answers differ."""
        for _ in range(steps):
            if self.random.random() < 0.5:
                self.write(self.random_write())
            else:
                self.read(self.random_read(), self.random.choice(self.namespaces))

    def write(self, make: Callable[[Client, str], Call]) -> None:
        """Do it in both namespaces, one each way."""
        calls, answers = [], []
        for client, namespace in zip((self.direct, self.proxied), self.namespaces, strict=True):
            # What depends on the state, a version for example, is read directly for both.
            call = make(self.direct, namespace)
            calls.append(call)
            answers.append(call.of(client, namespace))
        one, other = answers
        self.history.append(f"{calls[0].method} {calls[0].path} {one.status}")
        self._same("status", calls[0], one.status, other.status)
        self._same("headers", calls[0], set(one.headers), set(other.headers))
        shown = [
            without_made_up(json.loads(answer.body), namespace) if answer.body[:1] == b"{" else answer.status
            for answer, namespace in zip(answers, self.namespaces, strict=True)
        ]
        self._same("body", calls[0], *shown)

    def read(self, call: Call, namespace: str) -> Answer:
        """Ask it both ways; twice directly, to know what changes by itself."""
        for _ in range(5):
            before = call.of(self.direct, namespace)
            found = call.of(self.proxied, namespace)
            after = call.of(self.direct, namespace)
            if (before.status, before.body) == (after.status, after.body):
                break
        self.history.append(f"{call.method} {call.path} {before.status}")
        self._same("status", call, before.status, found.status)
        self._same("headers", call, _headers(before), _headers(found))
        self._same("body", call, _ADDRESS.sub(b"", before.body), _ADDRESS.sub(b"", found.body))
        return found

    def _same(self, what: str, call: Call, one: object, other: object) -> None:
        if one != other:
            history = "\n".join(self.history[-10:])
            raise AssertionError(f"{what} of {call}:\ndirect:  {one}\nproxied: {other}\nafter\n{history}")

    def _path(self, resource: str, *rest: str) -> str:
        return "/".join((KINDS[resource].path, "namespaces/NS", resource, *rest))

    def body(self, resource: str, name: str) -> Object:
        """An object as a client sends it."""
        kind = KINDS[resource]
        metadata = {"name": name, "labels": self.random.choice(LABELS)}
        return {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": metadata,
            **kind.content(self.random.randrange(5)),
        }

    def random_write(self) -> Callable[[Client, str], Call]:
        """A write; it is made for each namespace by what is there."""
        random = self.random
        resource = random.choice(list(KINDS))
        name = random.choice(NAMES)
        item = self._path(resource, name)
        body = self.body(resource, name)
        choice = random.randrange(14)
        fixed: Call
        if choice < 4:
            query = random.choice(({}, {"fieldValidation": "Strict"}, {"dryRun": "All"}))
            fixed = Call("POST", self._path(resource), body, query=query)
        elif choice == 4:
            return self._update(item, body, random.random() < 0.3)
        elif choice == 5:
            fixed = Call(
                "PATCH", item, {"metadata": {"labels": {"app": "patched"}}}, content_type=MERGE_PATCH
            )
        elif choice == 6:
            operations = [{"op": "add", "path": "/metadata/annotations", "value": {"a": "b"}}]
            fixed = Call("PATCH", item, operations, content_type=JSON_PATCH)
        elif choice == 7:
            patch = {"metadata": {"annotations": {"strategic": "yes"}}}
            fixed = Call("PATCH", item, patch, content_type=STRATEGIC_PATCH)
        elif choice == 8:
            force = random.choice(({}, {"force": "true"}))
            fixed = Call(
                "PATCH", item, body, content_type=APPLY_PATCH, query={"fieldManager": "differ", **force}
            )
        elif choice in (9, 10):
            fixed = Call("DELETE", item, query={"gracePeriodSeconds": "0"})
        elif choice == 11:
            query = random.choice(({"labelSelector": "app=web"}, {"labelSelector": "app in (web,patched)"}))
            fixed = Call("DELETE", self._path(resource), query={**query, "gracePeriodSeconds": "0"})
        elif choice == 12:
            path = f"{item}/status"
            fixed = Call("PATCH", path, {"status": {"phase": "Odd"}}, content_type=MERGE_PATCH)
        else:
            fixed = self._nonsense(resource, item, body)
        return lambda _client, _namespace: fixed

    def _update(self, item: str, body: Object, stale: bool) -> Callable[[Client, str], Call]:
        def make(client: Client, namespace: str) -> Call:
            found = Call("GET", item).of(client, namespace)
            changed = {**body, "metadata": dict(body["metadata"])}
            if found.status == 200:
                version = found.json["metadata"]["resourceVersion"]
                changed["metadata"]["resourceVersion"] = "1" if stale else version
            return Call("PUT", item, changed)

        return make

    def _nonsense(self, resource: str, item: str, body: Object) -> Call:
        """What an API server refuses."""
        return self.random.choice(
            (
                Call("POST", self._path(resource), b"{"),
                Call("POST", self._path(resource), {**body, "kind": "Nonsense"}),
                Call("POST", self._path(resource), {**body, "metadata": {"name": "Not_A_Name"}}),
                Call("POST", self._path(resource), body, content_type="text/nonsense"),
                Call("PUT", item, {**body, "metadata": {"name": "another"}}),
                Call("PATCH", item, {}, content_type="application/nonsense"),
                Call("DELETE", item, query={"propagationPolicy": "Nonsense"}),
                Call("POST", item, body),
                Call("POST", f"{item}/nonsense", body),
            )
        )

    def random_read(self) -> Call:
        """A get, a list, a page, a HEAD, something of discovery, or a refused one."""
        random = self.random
        choice = random.randrange(20)
        resource = random.choice(list(KINDS))
        if choice < 6:
            return Call(
                "GET", self._path(resource, random.choice(NAMES)), accept=self._accept(resource, False)
            )
        if choice < 12:
            return Call("GET", self._path(resource), accept=self._accept(resource, True), query=self._query())
        if choice == 12:
            return Call("GET", self._path(resource), query={"limit": "2"})
        if choice == 13:
            return Call("HEAD", self._path(resource))
        if choice == 14:
            namespace = "/api/v1/namespaces/NS"
            return Call("GET", namespace, headers=random.choice(({}, {"Accept-Encoding": "gzip"})))
        if choice == 15:
            path = random.choice(("status", "scale", "nonsense"))
            return Call("GET", self._path(resource, random.choice(NAMES), path))
        if choice == 16:
            return self._refused_read(resource)
        if choice == 17:
            return Call("GET", random.choice(("/api", "/apis")), accept=f"{AGGREGATED},{JSON}")
        return Call("GET", random.choice(DISCOVERY))

    def _refused_read(self, resource: str) -> Call:
        path = self._path(resource)
        return self.random.choice(
            (
                Call("GET", path, query={"labelSelector": "!!"}),
                Call("GET", path, query={"fieldSelector": "spec.nonsense=1"}),
                Call("GET", path, query={"limit": "x"}),
                Call("GET", path, query={"continue": "nonsense"}),
                Call("GET", path, accept="image/png"),
                Call("GET", "/api/v1/namespaces/NS/nonsenses"),
                Call("GET", f"{path}/%00"),
            )
        )

    def _query(self) -> dict[str, str]:
        return self.random.choice(
            (
                {},
                {},
                {"labelSelector": "app=web"},
                {"labelSelector": "app in (web,db),tier!=front"},
                {"fieldSelector": "metadata.name=one"},
                {"resourceVersion": "0"},
                {"pretty": "true"},
            )
        )

    def _accept(self, resource: str, of_list: bool) -> str:
        forms = [JSON, JSON, f"{TABLE},{JSON}", f"{PARTIAL_LIST if of_list else PARTIAL},{JSON}"]
        if self._protobuf and KINDS[resource].builtin:
            forms.append(f"{PROTOBUF},{JSON}")
        return self.random.choice(forms)

    # -- watches

    def watch_slices(self, versions: dict[str, str]) -> None:
        """Watch from ``versions``, one of each namespace, both ways at once: the same events."""
        calls = [
            (
                Call("GET", self._path(resource), query={**query, **_SLICE, "resourceVersion": version}),
                namespace,
            )
            for namespace, version in versions.items()
            for resource in KINDS
            for query in ({}, {"labelSelector": "app=web"})
        ]
        with ThreadPoolExecutor(2 * len(calls)) as pool:
            asked = [
                (call, [pool.submit(call.of, client, namespace) for client in (self.direct, self.proxied)])
                for call, namespace in calls
            ]
            for call, futures in asked:
                one, other = (future.result() for future in futures)
                self._same("status", call, one.status, other.status)
                self._same("events", call, one.body, other.body)

    # -- offline

    def questions(self) -> Iterator[tuple[Call, str]]:
        """Reads that a cache is to answer as the API server did."""
        for namespace in self.namespaces:
            for resource, kind in KINDS.items():
                forms = [JSON, f"{TABLE},{JSON}", f"{PARTIAL_LIST},{JSON}"]
                if self._protobuf and kind.builtin:
                    forms.append(f"{PROTOBUF},{JSON}")
                for accept in forms:
                    yield Call("GET", self._path(resource), accept=accept), namespace
                for query in ({"labelSelector": "app=web"}, {"fieldSelector": "metadata.name=one"}):
                    yield Call("GET", self._path(resource), query=query), namespace
                for name in NAMES:
                    yield Call("GET", self._path(resource, name)), namespace
        for path in ("/api", "/apis", "/api/v1", "/apis/apps/v1", f"/apis/{GROUP}/v1", "/version"):
            yield Call("GET", path), ""
        yield Call("GET", "/apis", accept=f"{AGGREGATED},{JSON}"), ""

    def remember(self) -> list[tuple[Call, str, Answer]]:
        """Ask every question while the cloud is there; the answers that count later."""
        asked = [(call, namespace, call.of(self.proxied, namespace)) for call, namespace in self.questions()]
        return [each for each in asked if each[2].status in (200, 404)]

    def check(self, remembered: list[tuple[Call, str, Answer]]) -> None:
        """Ask again without the cloud: each answer is what it was. Raises AssertionError."""
        for call, namespace, online in remembered:
            offline = call.of(self.proxied, namespace)
            self._same("offline status", call, online.status, offline.status)
            self._same("offline type", call, online.headers["content-type"], offline.headers["content-type"])
            if "protobuf" in offline.headers["content-type"]:
                self._same("offline body", call, sorted(online.body), sorted(offline.body))
            else:
                self._same("offline body", call, _untyped(online.json), _untyped(offline.json))
            if "Warning" not in offline.headers and "warning" not in offline.headers:
                raise AssertionError(f"{call} was not answered from the cache")

    def check_watches(self) -> None:
        """WatchLists without the cloud show what lists do."""
        for namespace in self.namespaces:
            for resource in KINDS:
                listed = Call("GET", self._path(resource)).of(self.proxied, namespace).json
                query = {
                    "watch": "true",
                    "timeoutSeconds": "1",
                    "sendInitialEvents": "true",
                    "resourceVersionMatch": "NotOlderThan",
                    "allowWatchBookmarks": "true",
                }
                call = Call("GET", self._path(resource), query=query)
                stream = self.proxied.watch(call.path.replace("NS", namespace), **query)
                with stream:
                    events = [stream.next() for _ in range(len(listed["items"]) + 1)]
                shown = [item for type_, item in events[:-1] if type_ == "ADDED"]
                names = [item["metadata"]["name"] for item in shown]
                self._same("watched", call, [item["metadata"]["name"] for item in listed["items"]], names)
                self._same("end", call, "BOOKMARK", events[-1][0])


def through_an_outage(differential: Differential, steps: int, link: Link, proxied: ProxiedServer) -> None:
    """Some history online, what it left compared offline and after a crash, then online again."""
    differential.prepare()
    versions = differential.versions()
    differential.run(steps)
    differential.watch_slices(versions)
    remembered = differential.remember()
    link.cut()
    proxied.wait_until("offline")
    differential.check(remembered)
    differential.check_watches()
    proxied.crash()
    proxied.start()
    proxied.wait_until("offline")
    differential.check(remembered)
    link.restore()
    proxied.wait_until("online")
