"""What is cut out of encoded objects, against the same done to decoded ones."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.grid.node.cutting import cut_endpoints, cut_endpoints_json, cut_slice, cut_slice_json
from superedge.grid.node.topology import Site
from superedge.kube.endpoints import ENDPOINT_SLICES, ENDPOINTS, service_of
from superedge.kube.errors import DecodeError
from superedge.kube.media import JSON, PROTOBUF
from superedge.kube.wire import field, number_field, walk
from tests.grid.node.fakeapi import decode, encode

# Names that are parts of others, as long as a byte's length, and longer.
NAMES = ("a", "aa", "node-1", "node-10", "2" * 50, "n" * 127, "n" * 128, "n" * 253, "")
nodes = st.lists(st.sampled_from(NAMES), max_size=6)
sites = st.sets(st.sampled_from(NAMES[:-1]), max_size=4) | st.just(
    {*NAMES[:-1], *(f"x{n}" for n in range(20))}
)


def site(names: set[str]) -> Site:
    return Site(frozenset(name.encode() for name in names))


def slice_on(names: list[str], **labels: str) -> dict[str, Any]:
    # Other texts contain what looks like the field with a node's name.
    endpoints = [
        {"addresses": [f"10.0.0.{at}"], "pod": "2\x06node-1", **({"nodeName": name} if name else {})}
        for at, name in enumerate(names)
    ]
    meta = {
        "name": "web-1",
        "namespace": "default",
        "resourceVersion": "7",
        "labels": {"kubernetes.io/service-name": "web", **labels},
    }
    return {"metadata": meta, "addressType": "IPv4", "endpoints": endpoints}


def shown(names: list[str], chosen: set[str]) -> list[str]:
    return [f"10.0.0.{at}" for at, name in enumerate(names) if name in chosen]


class CuttingTests(SynchronousTestCase):
    @settings(max_examples=60, deadline=None)
    @given(nodes, sites)
    def test_a_slice(self, names: list[str], chosen: set[str]) -> None:
        item = slice_on(names)
        seen = []

        def choose(service: tuple[str, str]) -> Site:
            seen.append(service)
            return site(chosen)

        raw = encode(item)
        cut = cut_slice(raw, choose)
        found = decode(cut)
        wanted = shown(names, chosen)
        self.assertEqual([each["addresses"][0] for each in found["endpoints"]], wanted)
        self.assertEqual(found["addressType"], "IPv4")
        text = json.dumps(item).encode()
        cut_text = cut_slice_json(text, choose)
        self.assertEqual([each["addresses"][0] for each in json.loads(cut_text)["endpoints"]], wanted)
        self.assertEqual(json.loads(cut_text)["metadata"], item["metadata"])
        if len(wanted) == len(names):
            self.assertIs(cut, raw)
            self.assertIs(cut_text, text)
        self.assertEqual(set(seen), {("default", "web")})

    @settings(max_examples=40, deadline=None)
    @given(nodes, nodes, sites)
    def test_endpoints(self, ready: list[str], starting: list[str], chosen: set[str]) -> None:
        def addresses(names: list[str]) -> list[dict[str, str]]:
            return [
                {"ip": f"10.0.0.{at}", **({"nodeName": name} if name else {})}
                for at, name in enumerate(names)
            ]

        subset = {"addresses": addresses(ready), "notReadyAddresses": addresses(starting), "ports": []}
        meta = {"name": "web", "namespace": "default", "resourceVersion": "7"}
        item = {"metadata": meta, "subsets": [subset]}

        def choose(service: tuple[str, str]) -> Site:
            assert service == ("default", "web")
            return site(chosen)

        wanted = [shown(ready, chosen), shown(starting, chosen)]
        raw = encode(item)
        cut = cut_endpoints(raw, choose)
        found: list[list[str]] = [[], []]
        subsets = [cut[a:b] for number, _, a, b in walk(cut) if number == 2]
        for each in subsets:
            for number, _, a, b in walk(each):
                if number in (1, 2):
                    found[number - 1].append(next(each[c:d] for _, _, c, d in walk(each, a, b)).decode())
        self.assertEqual(found, wanted)
        if [len(each) for each in wanted] == [len(ready), len(starting)]:
            self.assertIs(cut, raw)
        elif not any(wanted):
            self.assertEqual(subsets, [])
        decoded = json.loads(cut_endpoints_json(json.dumps(item).encode(), choose))["subsets"]
        for key, addressed in zip(("addresses", "notReadyAddresses"), wanted, strict=True):
            self.assertEqual([one["ip"] for each in decoded for one in each.get(key, ())], addressed)

    def test_services_of_others_are_untouched(self) -> None:
        raw = encode(slice_on(["a", "b"]))
        self.assertIs(cut_slice(raw, lambda _: None), raw)
        text = json.dumps(slice_on(["a", "b"])).encode()
        self.assertIs(cut_slice_json(text, lambda _: None), text)
        subsets = [{"addresses": [{"ip": "10.0.0.1"}]}]
        other = {"metadata": {"name": "e", "namespace": "n", "resourceVersion": "1"}, "subsets": subsets}
        raw = encode(other)
        self.assertIs(cut_endpoints(raw, lambda _: None), raw)
        text = json.dumps(other).encode()
        self.assertIs(cut_endpoints_json(text, lambda _: None), text)

    def test_fields_that_are_not_known(self) -> None:
        """A later version of the API may add some."""
        raw = number_field(15, 300) + encode(slice_on(["a", "b"])) + field(900, b"x") + number_field(16, 1)
        cut = cut_slice(raw, lambda _: site({"a"}))
        self.assertEqual(len(decode(cut)["endpoints"]), 1)
        self.assertTrue(cut.startswith(number_field(15, 300)))
        self.assertTrue(cut.endswith(field(900, b"x") + number_field(16, 1)))

    def test_what_is_cut_short(self) -> None:
        raw = encode(slice_on(["a", "b" * 130]))
        for end in range(1, len(raw)):
            try:
                cut_slice(raw[:end], lambda _: site({"c"}))
            except DecodeError:
                continue
        for text in (b"{", b"[]", b'{"metadata": 3}', b'{"metadata": {"name": "a"}, "endpoints": 3}'):
            self.assertRaises(DecodeError, cut_slice_json, text, lambda _: site({"c"}))

    def test_the_service_of_an_object(self) -> None:
        item = slice_on([], **{"kubernetes.io/service-name2": "no", "kubernetes.io/service-nam": "no"})
        item["metadata"]["annotations"] = {"kubernetes.io/service-name": "no"}
        for media_type, raw in ((PROTOBUF, encode(item)), (JSON, json.dumps(item).encode())):
            self.assertEqual(service_of(ENDPOINT_SLICES, media_type, raw), ("default", "web"))
            self.assertEqual(service_of(ENDPOINTS, media_type, raw), ("default", "web-1"))
