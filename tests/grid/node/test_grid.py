"""The filter ``grid`` in a lite-apiserver: lists and watches, in both representations."""

from __future__ import annotations

from superedge.kube.media import JSON, PROTOBUF
from tests.grid.node.case import FAR, SITE, GridCase, on
from tests.grid.node.client import Reflector
from tests.grid.node.fakeapi import SLICES

FORMS = (JSON, PROTOBUF)


class GridTests(GridCase):
    async def test_a_list_has_the_endpoints_of_the_site(self) -> None:
        self.service("web", SITE)
        self.service("plain")
        self.slice("web-1", "web", *FAR, "")
        self.slice("plain-1", "plain", *FAR, "")
        for form in FORMS:
            client = Reflector(self.world, form)
            wanted = {"web-1": on("edge-1", "edge-2"), "plain-1": on(*FAR, "")}
            await client.start()
            await client.until(wanted)
            await client.relist()
            self.assertEqual(client.shown, wanted)
            self.assertEqual(client.version, str(self.api.version))

    async def test_what_changes_is_told(self) -> None:
        self.service("web", SITE)
        self.slice("web-1", "web", *FAR)
        for streaming in (False, True):
            for form in FORMS:
                client = Reflector(self.world, form, streaming=streaming)
                await client.start()
                await client.until({"web-1": on("edge-1", "edge-2")})
                self.label("far-1", "near")
                await client.until({"web-1": on("edge-1", "edge-2", "far-1")}, "a peer's label")
                self.label("edge-1", "far")
                await client.until({"web-1": on("edge-1", "far-2")}, "the own label")
                self.service("web")
                await client.until({"web-1": on(*FAR)}, "no annotation")
                self.service("web", SITE)
                await client.until({"web-1": on("edge-1", "far-2")}, "the annotation")
                self.label("edge-1", "near")
                self.label("far-1", "far")
                await client.until({"web-1": on("edge-1", "edge-2")})
                changed = [event for event in client.events if event[1]]
                version = self.api.objects[SLICES]["default", "web-1"]["metadata"]["resourceVersion"]
                self.assertEqual({event[2] for event in changed}, {version}, "the object's own")
                self.assertEqual({event[0] for event in changed} - {"ADDED"}, {"MODIFIED"})
                # The last event is a bookmark: nobody is moved back.
                self.assertEqual(client.events[-1][0], "BOOKMARK")
                self.assertGreaterEqual(int(client.version), int(version))
                client.leave()
