from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from superedge.config.addresses import TCPAddress
from superedge.interfaces import IResponseFilter
from superedge.kube.json import JSONCodec
from superedge.kube.media import PROTOBUF
from superedge.kube.objects import Item
from superedge.liteapiserver.forward.filters import Filters
from superedge.liteapiserver.forward.kubernetes import KubernetesEndpoints
from tests.liteapiserver.cache.driver import TABLE, event, list_of, pod, request, typed
from tests.liteapiserver.test_proxying import PODS, ProxyTestCase
from tests.liteapiserver.world import JSON, NODE, Response, Seen, until

SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
ENDPOINTS = "/api/v1/namespaces/default/endpoints/kubernetes"
_CODEC = JSONCodec()
ADVERTISED = TCPAddress("169.254.20.11", 51003)


def _has_an_event(watch: Response) -> bool:
    return watch.body.endswith(b"\n")


@implementer(IResponseFilter)
class HideSecretPods:
    """Hides pods that have the label ``hidden``, and marks the others."""

    name = "hide"

    def resources(self) -> Sequence[tuple[str, str]]:
        return [("", "pods")]

    def filter(self, group: str, resource: str, item: dict[str, Any]) -> dict[str, Any] | None:
        if item["metadata"]["name"] == "broken":
            raise ZeroDivisionError
        if "hidden" in item["metadata"].get("labels", {}):
            return None
        return {**item, "marked": True}


class WatchFilterTests(SynchronousTestCase):
    def seen(self, query: str, *frames: bytes, replayed: bool = False) -> list[tuple[str, str]]:
        info = request(f"{PODS}?watch=true{query}")
        self.filter = Filters([HideSecretPods()]).watch(info, "application/json", self.known, replayed)
        self.events = [json.loads(line) for line in self.filter.feed(list(frames))]
        return [(each["type"], each["object"]["metadata"]["name"]) for each in self.events]

    def setUp(self) -> None:
        self.known: dict[tuple[str, str], Item] = {}

    def test_what_a_list_showed_and_is_hidden_now(self) -> None:
        """A client that goes on from a list, as all do, has it until it is told otherwise."""
        hidden = [event("MODIFIED", pod("a", version, hidden="yes")) for version in (21, 22)]
        self.assertEqual(self.seen("&resourceVersion=20", *hidden), [("DELETED", "a")])
        self.assertEqual(self.events[0]["object"], typed(pod("a", 21, hidden="yes")), "as it is")
        self.known["default", "a"] = _CODEC.decode_object(json.dumps(typed(pod("a", 20))).encode())
        self.assertEqual(self.seen("&resourceVersion=20", *hidden), [("DELETED", "a")])
        self.assertEqual(self.events[0]["object"], {**typed(pod("a", 21)), "marked": True}, "as it was")
        shown = event("MODIFIED", pod("a", 20, shown="yes"))
        self.assertEqual(self.seen("", shown, *hidden), [("MODIFIED", "a"), ("DELETED", "a")])
        last = {**typed(pod("a", 21, shown="yes")), "marked": True}
        self.assertEqual(self.events[1]["object"], last, "as it was a moment ago")
        gone = event("DELETED", pod("a", 21, hidden="yes"))
        self.assertEqual(self.seen("&resourceVersion=20", gone), [("DELETED", "a")])
        self.known.clear()
        added = event("ADDED", pod("a", 21, hidden="yes"))
        self.assertEqual(self.seen("&resourceVersion=20", added, hidden[1], gone), [])
        self.assertEqual(self.seen("&resourceVersion=20", added, replayed=True), [("DELETED", "a")])
        for query in ("", "&resourceVersion=0", "&resourceVersion=20&sendInitialEvents=true"):
            self.assertEqual(self.seen(query, *hidden, gone), [])
            self.assertEqual(self.seen(query, added, replayed=True), [])

    def test_watches_share_what_they_show(self) -> None:
        filters = Filters([HideSecretPods()])
        name = ("default", "a")
        watches = []
        for query, version in (("", 21), ("", 21), ("&resourceVersion=20", 22)):
            info = request(f"{PODS}?watch=true{query}")
            watches.append(filters.watch(info, "application/json", self.known))
            watches[-1].feed([event("ADDED", pod("a", version))])
        one, same, later = (each._objects[name] for each in watches)
        self.assertIs(one, same)
        self.assertIsNot(one, later)
        watches[0].feed([event("MODIFIED", pod("a", 22))])
        self.assertIs(watches[0]._objects[name], later)
        self.assertEqual(json.loads(one.raw)["metadata"]["resourceVersion"], "21")

    def test_names_of_what_is_gone_are_not_kept(self) -> None:
        for number in range(3):
            name = f"p{number}"
            self.seen(
                "", event("ADDED", pod(name, 21, hidden="y")), event("DELETED", pod(name, 22, hidden="y"))
            )
            self.assertEqual(self.filter._objects, {})

    def test_hidden_and_shown_in_turns(self) -> None:
        frames = [
            event("ADDED", pod("a", 21, hidden="yes")),
            event("MODIFIED", pod("a", 22)),
            event("MODIFIED", pod("a", 23, hidden="yes")),
            event("MODIFIED", pod("a", 24, hidden="yes")),
            event("MODIFIED", pod("a", 25)),
            event("DELETED", pod("a", 26)),
        ]
        wanted = ["ADDED", "DELETED", "ADDED", "DELETED"]
        self.assertEqual([type_ for type_, _ in self.seen("", *frames)], wanted)
        self.assertEqual([type_ for type_, _ in self.seen("&resourceVersion=20", *frames)], wanted)


class FilterTests(ProxyTestCase):
    options = {"filters": [HideSecretPods(), KubernetesEndpoints(ADVERTISED)]}

    async def items(self, target: str) -> dict[str, bool]:
        answer = await self.world.ask(
            "GET", target, [(b"Accept", b"application/json")], identity=self.world.node
        )
        self.assertEqual(answer.status, 200, answer.body)
        found = json.loads(answer.body)["items"]
        return {item["metadata"]["name"]: item.get("marked", False) for item in found}

    async def test_lists_and_gets_online_and_offline(self) -> None:
        self.upstream.serve(PODS.encode(), list_of([pod("a", 3), pod("b", 4, hidden="yes")], 9))
        self.upstream.serve(f"{PODS}/b".encode(), json.dumps(typed(pod("b", 4, hidden="yes"))).encode())
        self.upstream.serve(f"{PODS}/a".encode(), json.dumps(typed(pod("a", 3))).encode())
        for online in (True, False):
            if not online:
                await self.world.go_offline()
            self.assertEqual(await self.items(PODS), {"a": True})
            self.assertEqual((await self.world.get(f"{PODS}/b")).status, 404)
            answer = await self.world.get(f"{PODS}/a")
            self.assertTrue(json.loads(answer.body)["marked"])
            self.assertEqual(json.loads(answer.body)["metadata"]["resourceVersion"], "3")

    async def test_watch_online_and_offline(self) -> None:
        def begin(seen: Seen) -> None:
            seen.request.start(200, b"OK", list(JSON), False)
            stream = b"".join(
                [
                    event("ADDED", pod("a", 21)),
                    event("ADDED", pod("b", 22, hidden="yes")),
                    event("MODIFIED", pod("a", 23, hidden="yes")),
                    event("DELETED", pod("b", 24, hidden="yes")),
                    event("ADDED", pod("c", 25)),
                ]
            )
            for at in range(0, len(stream), 50):
                seen.request.write([stream[at : at + 50]])
                seen.request.flush()

        self.upstream.serve(PODS.encode(), list_of([], 20))
        await self.world.get(PODS)
        self.upstream.answers[PODS.encode()] = begin
        watch = await self.world.send(
            "GET", f"{PODS}?watch=true&resourceVersion=20", identity=self.world.node
        )
        await until(lambda: watch.body.count(b"\n") == 3)
        events = [json.loads(line) for line in watch.body.splitlines()]
        self.assertEqual(
            [(each["type"], each["object"]["metadata"]["name"]) for each in events],
            [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "c")],
        )
        self.assertEqual(events[1]["object"], {**typed(pod("a", 23)), "marked": True})
        await self.world.go_offline()
        self.assertEqual(await self.items(PODS), {"c": True})
        self.assertFalse(watch.over.called)

    async def test_a_client_of_protobuf_gets_json_which_it_takes_too(self) -> None:
        self.upstream.serve(PODS.encode(), list_of([pod("a", 3)], 9))
        headers = [(b"Accept", f"{PROTOBUF},application/json".encode()), (b"Accept-Encoding", b"gzip")]
        answer = await self.world.ask("GET", PODS, headers, identity=self.world.node)
        self.assertEqual(answer.header(b"content-type"), b"application/json")
        sent = {name.lower(): value for name, value in self.upstream.seen[0].request.head.headers}
        self.assertEqual((sent[b"accept"], b"accept-encoding" in sent), (b"application/json", False))

    async def test_no_form_passes_the_filters_by(self) -> None:
        """Tables, metadata alone and protobuf alone would show what is hidden."""
        self.upstream.serve(PODS.encode(), list_of([pod("a", 3), pod("b", 4, hidden="yes")], 9))
        answer = await self.world.ask("GET", PODS, [(b"Accept", TABLE.encode())], identity=self.world.node)
        self.assertEqual([each["metadata"]["name"] for each in json.loads(answer.body)["items"]], ["a"])
        before = len(self.upstream.seen)
        for accept in (
            PROTOBUF,
            TABLE.partition(",")[0],
            f"{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        ):
            answer = await self.world.ask(
                "GET", PODS, [(b"Accept", accept.encode())], identity=self.world.node
            )
            self.assertEqual((answer.status, json.loads(answer.body)["reason"]), (406, "NotAcceptable"))
        self.assertEqual(len(self.upstream.seen), before)
        answer = await self.world.ask("GET", PODS, [(b"Accept", b"*/*")], identity=self.world.node)
        self.assertEqual(answer.status, 200)

    async def test_head_has_nothing_to_filter(self) -> None:
        self.upstream.serve(f"{PODS}/a".encode(), json.dumps(typed(pod("a", 3))).encode())
        answer = await self.world.ask("HEAD", f"{PODS}/a", identity=self.world.node)
        self.assertEqual((answer.status, answer.body), (200, b""))

    async def test_what_is_not_filtered_passes_as_it_is(self) -> None:
        self.upstream.serve(b"/api/v1/nodes", b'{ "kind" : "NodeList" , "items" : [ ] }')
        accept = f"{PROTOBUF},application/json".encode()
        answer = await self.world.ask("GET", "/api/v1/nodes", [(b"Accept", accept)], identity=self.world.node)
        self.assertEqual(answer.body, b'{ "kind" : "NodeList" , "items" : [ ] }')
        self.assertIn((b"Accept", accept), self.upstream.seen[0].request.head.headers)
        self.upstream.serve(PODS.encode(), b"no list at all", 403)
        self.assertEqual((await self.world.get(PODS)).body, b"no list at all")

    async def test_an_answer_that_is_too_long_to_be_filtered(self) -> None:
        assert self.world.lite is not None
        self.world.lite.frontend.filters.max_body = 10_000
        self.upstream.serve(PODS.encode(), list_of([pod(f"p{number}", 3) for number in range(500)], 9))
        answer = await self.world.get(PODS)
        self.assertEqual(answer.status, 500)
        self.assertIn("more than 10000 bytes", json.loads(answer.body)["message"])
        self.upstream.serve(PODS.encode(), list_of([pod("a", 3)], 9))
        self.assertEqual(await self.items(PODS), {"a": True})

        def begin(seen: Seen) -> None:
            seen.request.start(200, b"OK", list(JSON), False)
            seen.request.write([b" " * 20_000])
            seen.request.flush()

        self.upstream.answers[PODS.encode()] = begin
        watch = await self.world.ask("GET", f"{PODS}?watch=true", identity=self.world.node)
        self.assertEqual(watch.body, b"")

    async def test_responses_that_are_collected_at_the_same_time(self) -> None:
        assert self.world.lite is not None
        filters = self.world.lite.frontend.filters
        filters.collected.limit = 10_000
        begun: list[Seen] = []

        def begin(seen: Seen) -> None:
            seen.request.start(200, b"OK", list(JSON), False)
            seen.request.write([b" " * 6_000])
            seen.request.flush()
            begun.append(seen)

        self.upstream.answers[PODS.encode()] = begin
        first = await self.world.send("GET", PODS, identity=self.world.node)
        await until(lambda: filters.collected.total(f"cert:{NODE}") == 6_000, "half")
        second = await self.world.get(PODS)
        self.assertEqual((second.status, second.header(b"retry-after")), (429, b"1"))
        begun[0].request.write([list_of([pod("a", 3)], 9)])
        begun[0].request.finish()
        await first.over
        self.assertEqual(first.status, 200)
        third = await self.world.send("GET", PODS, identity=self.world.node)
        assert third.connection is not None
        await until(lambda: filters.collected.total(f"cert:{NODE}") == 6_000, "half")
        third.connection.transport.abortConnection()
        await until(lambda: not filters.collected.total(f"cert:{NODE}"), "given up")

    async def test_a_filter_that_fails_harms_one_answer(self) -> None:
        self.upstream.serve(PODS.encode(), list_of([pod("broken", 3)], 9))
        self.assertEqual((await self.world.get(PODS)).status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        await self.world.go_offline()
        self.assertEqual((await self.world.get(PODS)).status, 500)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        await self.upstream.start()
        await until(lambda: self.world.state == "online")
        self.upstream.serve(PODS.encode(), list_of([pod("a", 3)], 9))
        self.assertEqual(await self.items(PODS), {"a": True})

    async def test_the_kubernetes_service_leads_here(self) -> None:
        meta = {"namespace": "default", "resourceVersion": "5"}
        labels = {"kubernetes.io/service-name": "kubernetes"}
        slices = [
            {
                "metadata": {**meta, "name": "kubernetes", "labels": labels},
                "addressType": "IPv4",
                "endpoints": [{"addresses": ["203.0.113.5"]}],
                "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
            },
            {"metadata": {**meta, "name": "web-x"}, "addressType": "IPv4", "endpoints": [], "ports": []},
        ]
        body = {
            "kind": "EndpointSliceList",
            "apiVersion": "discovery.k8s.io/v1",
            "metadata": meta,
            "items": slices,
        }
        self.upstream.serve(SLICES.encode(), json.dumps(body).encode())
        subsets = [{"addresses": [{"ip": "203.0.113.5"}], "ports": [{"port": 6443}]}]
        endpoints = {"kind": "Endpoints", "metadata": {**meta, "name": "kubernetes"}, "subsets": subsets}
        self.upstream.serve(ENDPOINTS.encode(), json.dumps(endpoints).encode())
        for online in (True, False):
            if not online:
                await self.world.go_offline()
            first, second = json.loads((await self.world.get(SLICES)).body)["items"]
            self.assertEqual(first["endpoints"][0]["addresses"], ["169.254.20.11"])
            self.assertEqual(first["ports"][0]["port"], 51003)
            self.assertEqual(second["endpoints"], [])
            found = json.loads((await self.world.get(ENDPOINTS)).body)
            self.assertEqual(found["subsets"][0]["addresses"], [{"ip": "169.254.20.11"}])

    async def test_watches_of_the_kubernetes_service_lead_here(self) -> None:
        labels = {"kubernetes.io/service-name": "kubernetes"}
        meta = {"name": "kubernetes", "namespace": "default", "resourceVersion": "21", "labels": labels}
        subsets = [{"addresses": [{"ip": "203.0.113.5"}], "ports": [{"port": 6443}]}]
        for path, target in (
            (ENDPOINTS.rpartition("/")[0], {"metadata": meta, "subsets": subsets}),
            (
                SLICES,
                {
                    "metadata": meta,
                    "addressType": "IPv4",
                    "endpoints": [{"addresses": ["203.0.113.5"]}],
                    "ports": [],
                },
            ),
        ):

            def begin(seen: Seen, target: dict[str, Any] = target) -> None:
                seen.request.start(200, b"OK", list(JSON), False)
                seen.request.write([event("ADDED", target)])
                seen.request.flush()

            self.upstream.answers[path.encode()] = begin
            headers = [(b"Accept", f"{PROTOBUF},application/json".encode())]
            watch = await self.world.send("GET", f"{path}?watch=true", headers, identity=self.world.node)
            await until(partial(_has_an_event, watch))
            self.assertIn(b"169.254.20.11", watch.body)
            self.assertNotIn(b"203.0.113.5", watch.body)
