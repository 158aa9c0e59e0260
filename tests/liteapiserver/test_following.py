"""A response filter that follows other objects and hides some: what an operator may write."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase
from zope.interface import implementer

from superedge.interfaces import Followed, IFollowingFilter
from superedge.kube.media import JSON, PROTOBUF
from tests.grid.node.case import GridCase, slice_of
from tests.grid.node.client import Reflector
from tests.grid.node.fakeapi import NODES, SERVICES, SLICES, FakeAPI
from tests.liteapiserver.world import NODE, World, until

HIDDEN = Followed("", "v1", "nodes", labels="hides=yes")
PARTIAL = f"{JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1"


@implementer(IFollowingFilter)
class Hidden:
    """Hides the slices that nodes of the same name hide, and marks the others with how many are hidden."""

    name = "hidden"

    def __init__(self) -> None:
        self._names: set[str] = set()

    def resources(self) -> Sequence[tuple[str, str]]:
        return [("discovery.k8s.io", "endpointslices")]

    def follows(self) -> Sequence[Followed]:
        return [HIDDEN]

    def followed(self, what: Followed, namespace: str, name: str, item: dict[str, Any] | None) -> bool:
        before = set(self._names)
        if item is None or item["metadata"].get("labels", {}).get("hides") != "yes":
            self._names.discard(name)
        else:
            self._names.add(name)
        return before != self._names

    def filter(self, group: str, resource: str, item: dict[str, Any]) -> dict[str, Any] | None:
        return None if item["metadata"]["name"] in self._names else item


class HidingTests(TestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        self.world = World(Path(self.mktemp()), filters=[Hidden()], filter_identity=NODE, verify_tokens=False)
        self.api = FakeAPI(self.world.upstream)
        self.addCleanup(self.world.stop)
        await self.world.start()

    def hide(self, name: str, hides: str = "yes") -> None:
        self.api.put(NODES, name, {"metadata": {"labels": {"hides": hides}}})

    async def test_objects_disappear_and_appear(self) -> None:
        for name in ("a", "b"):
            self.api.put(SLICES, name, slice_of("web", "edge-1"), "default")
        self.hide("b")
        for streaming in (False, True):
            client = Reflector(self.world, JSON, streaming=streaming)
            await client.start()
            await client.until({"a": ["on edge-1"]})
            client.read()
            client.events.clear()
            self.hide("b", "no")
            await client.until({"a": ["on edge-1"], "b": ["on edge-1"]})
            self.hide("a")
            await client.until({"b": ["on edge-1"]})
            self.api.put(SLICES, "a", slice_of("web", "edge-2"), "default")
            self.hide("a", "no")
            await client.until({"a": ["on edge-2"], "b": ["on edge-1"]})
            changes = [event[:2] for event in client.events if event[0] != "BOOKMARK"]
            # Before these, a watch may begin with what its client may have missed.
            self.assertEqual(changes[-3:], [("ADDED", "b"), ("DELETED", "a"), ("ADDED", "a")])
            # What is hidden while the client is away is gone when it comes back.
            client.leave()
            other = Reflector(self.world, JSON)
            await other.start()
            self.hide("b")
            await other.until({"a": ["on edge-2"]})
            await client.start()
            await client.until({"a": ["on edge-2"]})
            self.api.put(SLICES, "a", slice_of("web", "edge-1"), "default")
            other.leave()
            client.leave()

    async def test_what_it_cannot_read_is_not_served(self) -> None:
        await until(lambda: self.world.lite is not None and self.world.lite.following.fresh)
        for accept in (PROTOBUF, PARTIAL):
            answer = await self.world.get(SLICES, headers=[(b"Accept", accept.encode())])
            self.assertEqual(answer.status, 406)


class FormsTests(GridCase):
    @property
    def asked(self) -> str:
        """The Accept header of the last request for slices."""
        return [accept for path, _, accept in self.api.asked if path == SLICES][-1]

    async def test_what_shows_no_endpoints_passes(self) -> None:
        """Tables and metadata come as the API server sends them, since nothing of them is hidden."""
        self.service("web", "example.org/site")
        self.slice("web-1", "web", "edge-1", "far-1")
        await until(lambda: self.followed)
        table = f"{JSON};as=Table;v=v1;g=meta.k8s.io"
        for accept in (
            PARTIAL.replace("Metadata;", "MetadataList;"),
            f"{table},{table.replace('v1;g', 'v1beta1;g')}",
        ):
            await self.world.get(SLICES, headers=[(b"Accept", f"{accept},{JSON}".encode())])
            self.assertEqual(self.asked, accept, "and nothing else is asked for")

    async def test_both_forms_are_asked_in_the_clients_order(self) -> None:
        await until(lambda: self.followed)
        for accept, wanted in (
            (f"{PROTOBUF}, */*", f"{PROTOBUF},{JSON}"),
            (f"{JSON},{PROTOBUF}", f"{JSON},{PROTOBUF}"),
            (f"application/cbor,{JSON}", JSON),
        ):
            answer = await self.world.get(SLICES, headers=[(b"Accept", accept.encode())])
            self.assertEqual((answer.status, self.asked), (200, wanted))
        answer = await self.world.get(SLICES, headers=[(b"Accept", b"application/cbor")])
        self.assertEqual(answer.status, 406)


class IsolationTests(GridCase):
    async def test_what_filters_read_is_nobody_elses(self) -> None:
        """The filter reads as one identity; another client gets only what it read itself."""
        other = self.world.authority.issue("other", directory=self.world.pairs, name="other")
        self.service("web", "example.org/site")
        self.slice("web-1", "web", "edge-1", "far-1")
        await until(lambda: self.followed)
        assert self.world.lite is not None
        self.world.lite.identities.check()
        answer = await self.world.ask("GET", SLICES, [(b"Accept", JSON.encode())], identity=other)
        self.assertEqual(answer.status, 200)
        await self.outage()
        for accept in (JSON, PARTIAL, PROTOBUF):
            for path in (SERVICES, NODES):
                answer = await self.world.ask("GET", path, [(b"Accept", accept.encode())], identity=other)
                self.assertEqual(answer.status, 503, path)
        answer = await self.world.ask("GET", SLICES, [(b"Accept", JSON.encode())], identity=other)
        endpoints = json.loads(answer.body)["items"][0]["endpoints"]
        self.assertEqual([each["addresses"] for each in endpoints], [["on edge-1"]])
