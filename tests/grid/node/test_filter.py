"""Which endpoints the filter ``grid`` shows, and what it takes."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from superedge.config.addresses import TCPAddress
from superedge.config.liteapiserver import LiteAPIServerConfig, UpstreamConfig
from superedge.errors import SuperEdgeError
from superedge.grid.node.filter import NODES, SERVICES, GridFilter, create
from superedge.interfaces import IResponseFilter
from superedge.kube.endpoints import ENDPOINT_SLICES, ENDPOINTS
from superedge.kube.media import JSON, PROTOBUF
from superedge.kube.wire import walk
from superedge.liteapiserver.forward.kubernetes import KubernetesEndpoints
from superedge.tap.filters import response_filters
from superedge.testing.contracts.responsefilter import ResponseFilterContract
from tests.grid.node.case import SITE, on, slice_of
from tests.grid.node.fakeapi import decode, encode

ZONE = "example.org/zone"


class FilterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.filter = create({"node": "edge-1"})

    def nodes(self, **labels: dict[str, str]) -> None:
        for name, each in labels.items():
            self.filter.followed(NODES, "", name.replace("_", "-"), {"metadata": {"labels": each}})

    def service(self, annotation: str | None, name: str = "web") -> bool:
        annotations = {} if annotation is None else {"topologyKeys": annotation}
        return self.filter.followed(SERVICES, "default", name, {"metadata": {"annotations": annotations}})

    def shown(self, *nodes: str, filter: GridFilter | None = None) -> list[str]:
        item = slice_of("web", *nodes)
        item["metadata"].update(name="web-1", namespace="default", resourceVersion="3")
        used = filter or self.filter
        raw = used.filter_encoded(*ENDPOINT_SLICES, JSON, json.dumps(item).encode())
        found = [each["addresses"][0] for each in json.loads(raw)["endpoints"]]
        cut = used.filter_encoded(*ENDPOINT_SLICES, PROTOBUF, encode(item))
        self.assertEqual([each["addresses"][0] for each in decode(cut)["endpoints"]], found)
        self.assertEqual(used.filter(*ENDPOINT_SLICES, item)["endpoints"], json.loads(raw)["endpoints"])
        return found

    def test_any_of_several_keys(self) -> None:
        """As in SuperEdge: the same value of one of the keys is enough."""
        self.nodes(
            edge_1={SITE: "a", ZONE: "1"}, b={SITE: "b", ZONE: "1"}, c={SITE: "a"}, d={ZONE: "2"}, e={}
        )
        everywhere = ("edge-1", "b", "c", "d", "e", "", "unknown")
        self.assertEqual(self.shown(*everywhere), on(*everywhere))
        self.assertTrue(self.service(json.dumps([SITE, ZONE])))
        self.assertEqual(self.shown(*everywhere), on("edge-1", "b", "c"))
        self.assertTrue(self.service(json.dumps([ZONE])))
        self.assertEqual(self.shown(*everywhere), on("edge-1", "b"))

    def test_a_node_without_the_label(self) -> None:
        for unlabelled, wanted in (("everything", on("b", "")), ("nothing", [])):
            self.filter = create({"node": "edge-1", "unlabelled": unlabelled})
            self.nodes(b={SITE: "a"})
            self.service(json.dumps([SITE]))
            self.assertEqual(self.shown("b", ""), wanted, "it is not there")
            self.nodes(edge_1={ZONE: "1"})
            self.assertEqual(self.shown("b", ""), wanted)
            self.nodes(edge_1={SITE: "a"})
            self.assertEqual(self.shown("b", ""), on("b"))
            self.filter.followed(NODES, "", "edge-1", None)
            self.assertEqual(self.shown("b", ""), wanted)

    def test_annotations_that_say_nothing(self) -> None:
        """They are as none, as in SuperEdge."""
        self.nodes(edge_1={SITE: "a"}, b={SITE: "b"})
        for text in ("", "[]", "site", "{}", "[1]", '["a"', "null", '["\ud800"]'):
            self.assertFalse(self.service(text))
            self.assertEqual(self.shown("b"), on("b"), text)

    def test_what_makes_a_difference(self) -> None:
        self.nodes(edge_1={SITE: "a"}, b={SITE: "b"})
        self.assertFalse(self.service(None))
        self.assertTrue(self.service(json.dumps([SITE])))
        self.assertFalse(self.service(json.dumps([SITE])), "the same")

        def label(name: str, **labels: str) -> bool:
            return self.filter.followed(NODES, "", name, {"metadata": {"labels": {SITE: "b", **labels}}})

        self.assertFalse(label("b", other="label"))
        self.assertTrue(label("c"))
        self.assertTrue(self.filter.followed(NODES, "", "c", None))
        self.assertFalse(self.filter.followed(NODES, "", "c", None))
        self.assertTrue(self.filter.followed(SERVICES, "default", "web", None))
        self.assertFalse(label("b", **{SITE: "c"}), "no Service has the key")
        self.assertTrue(self.service(json.dumps([SITE])))
        self.nodes(edge_1={SITE: "c"})
        self.assertEqual(self.shown("b", "edge-1"), on("b", "edge-1"), "what changed meanwhile counts")

    def test_many_nodes_in_a_site(self) -> None:
        names = [f"edge-{number}" for number in range(1, 60)]
        self.nodes(**{name.replace("-", "_"): {SITE: "a"} for name in names}, far={SITE: "b"})
        self.service(json.dumps([SITE]))
        self.assertEqual(self.shown("far", *names, "edge-600"), on(*names))

    def test_options(self) -> None:
        for options in ({}, {"node": 3}, {"node": "a", "unlabelled": "some"}, {"node": "a", "more": 1}):
            error = self.assertRaises(SuperEdgeError, create, options)
            self.assertIn("lite_apiserver.filter_options.grid: ", str(error))


class ConfiguredTests(SynchronousTestCase):
    def config(self, **keys: Any) -> LiteAPIServerConfig:
        upstream = UpstreamConfig(servers=["127.0.0.1:1"], ca=["ca.crt"])  # type: ignore[list-item]
        files: Any = {"certificate": "a", "key": "b", "client_ca": ["c"]}
        return LiteAPIServerConfig(upstream=upstream, **files, **keys)

    def test_by_its_name(self) -> None:
        options = {"grid": {"node": "edge-1"}}
        config = self.config(
            filters=["grid"],
            filter_options=options,
            filter_identity="system:kube-proxy",
            advertise="127.0.0.1:5",
        )
        self.assertEqual([each.name for each in response_filters(config)], ["grid", "kubernetes-endpoints"])

    def test_what_is_missing(self) -> None:
        options = {"grid": {"node": "edge-1"}}
        for keys, said in (
            ({"filters": ["grid"], "filter_options": options}, "lite_apiserver.filter_identity: "),
            ({"filters": ["grid"], "filter_identity": "a"}, "filter_options.grid: "),
            ({"filter_options": options}, "'grid' is not in filters"),
            ({"filters": ["gird"]}, "no installed plugin is called 'gird'; installed plugins: grid"),
        ):
            error = self.assertRaises(SuperEdgeError, response_filters, self.config(**keys))
            self.assertIn(said, str(error))


class KubernetesTests(SynchronousTestCase):
    def test_protobuf(self) -> None:
        filter = KubernetesEndpoints(TCPAddress("169.254.20.11", 51003))
        item = slice_of("kubernetes", "", "")
        item["metadata"].update(name="kubernetes", namespace="default", resourceVersion="3")
        raw = encode(item)
        changed = filter.filter_encoded(*ENDPOINT_SLICES, PROTOBUF, raw)
        wanted = {"addressType": "IPv4", "endpoints": [{"addresses": ["169.254.20.11"]}]}
        self.assertEqual(decode(changed), wanted)
        meta = [raw[a:b] for number, _, a, b in walk(raw) if number == 1]
        self.assertEqual([changed[a:b] for number, _, a, b in walk(changed) if number == 1], meta)
        self.assertIn(b"\x18" + b"\xbb\x8e\x03", changed, "port 51003")
        for other in ({"namespace": "other"}, {"labels": {"kubernetes.io/service-name": "web"}}):
            untouched = encode({**item, "metadata": {**item["metadata"], **other}})
            self.assertIs(filter.filter_encoded(*ENDPOINT_SLICES, PROTOBUF, untouched), untouched)
        six = encode({**item, "addressType": "IPv6"})
        self.assertIs(filter.filter_encoded(*ENDPOINT_SLICES, PROTOBUF, six), six)
        endpoints = encode(
            {"metadata": item["metadata"], "subsets": [{"addresses": [{"ip": "203.0.113.5"}]}]}
        )
        changed = filter.filter_encoded(*ENDPOINTS, PROTOBUF, endpoints)
        self.assertIn(b"\x0a\x0d169.254.20.11", changed)
        self.assertNotIn(b"203.0.113.5", changed)


def contract_objects() -> list[tuple[str, str, dict[str, Any]]]:
    found = []
    for name in ("web", "kubernetes"):
        item = slice_of(name, "edge-1", "far-1", "")
        item["metadata"].update(name=name, namespace="default", resourceVersion="3", uid="4")
        found.append((*ENDPOINT_SLICES, item))
        addresses = [{"ip": "10.0.0.1", "nodeName": "far-1"}]
        found.append((*ENDPOINTS, {"metadata": item["metadata"], "subsets": [{"addresses": addresses}]}))
    return found


class GridContractTests(ResponseFilterContract, SynchronousTestCase):
    def make(self) -> IResponseFilter:
        made = create({"node": "edge-1", "unlabelled": "nothing"})
        meta = {"annotations": {"topologyKeys": json.dumps([SITE])}}
        made.followed(SERVICES, "default", "web", {"metadata": meta})
        made.followed(NODES, "", "edge-1", {"metadata": {"labels": {SITE: "a"}}})
        return made

    def objects(self) -> list[tuple[str, str, dict[str, Any]]]:
        return contract_objects()


class KubernetesContractTests(ResponseFilterContract, SynchronousTestCase):
    def make(self) -> IResponseFilter:
        return KubernetesEndpoints(TCPAddress("169.254.20.11", 51003))

    def objects(self) -> list[tuple[str, str, dict[str, Any]]]:
        return contract_objects()
