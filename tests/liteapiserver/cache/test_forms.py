"""An object in several forms: protobuf, tables, metadata alone, encodings, and documents with their tags."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from superedge.kube.media import PROTOBUF
from superedge.liteapiserver.cache.answers import Answer
from tests.kube.test_codecs import sample
from tests.liteapiserver.cache.driver import (
    JSON,
    PODS,
    TABLE,
    Driver,
    gzipped,
    list_of,
    pod,
    row,
    table,
)


class FormTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.driver = Driver()
        self.feed = self.driver.feed

    def table(self, version: int, *names: str) -> bytes:
        return json.dumps(table([row(name, version) for name in names], version)).encode()

    def test_protobuf_stays_protobuf(self) -> None:
        target = "/api/v1/namespaces/samples/configmaps?labelSelector=app"
        self.feed(target, sample("list.protobuf"), accept=PROTOBUF)
        answer = self.driver.ask(target, accept=PROTOBUF)
        assert isinstance(answer, Answer)
        self.assertEqual(answer.body, sample("list.protobuf"))
        self.assertEqual(self.driver.status(target, accept=JSON), 503)
        one = self.driver.ask("/api/v1/namespaces/samples/configmaps/c1", accept=f"{PROTOBUF},{JSON}")
        assert isinstance(one, Answer)
        self.assertEqual(one.body, sample("object.protobuf"))

    def test_a_table_is_labelled_as_plain_json(self) -> None:
        self.feed(PODS, self.table(9, "a"), accept=TABLE)
        self.assertEqual(self.driver.get(PODS, accept=TABLE)["kind"], "Table")
        self.assertEqual(self.driver.status(PODS), 503)

    def test_a_server_that_knows_no_tables(self) -> None:
        self.feed(PODS, list_of([pod("a", 3)], 9), accept=TABLE)
        self.assertEqual(self.driver.names(PODS), ["a"])
        self.assertEqual(self.driver.names(PODS, accept=TABLE), ["a"])

    def test_the_fresher_of_table_and_list(self) -> None:
        self.feed(PODS, self.table(9, "a", "b"), accept=TABLE)
        self.feed(PODS, list_of([pod("b", 4)], 12))
        self.assertEqual(self.driver.get(PODS, accept=TABLE)["kind"], "PodList")
        self.feed(PODS, self.table(15, "c"), accept=TABLE)
        self.assertEqual(self.driver.get(PODS, accept=TABLE)["kind"], "Table")

    def test_a_newer_list_of_the_same_leaves_kubectl_its_table(self) -> None:
        def columns() -> bool:
            return bool(self.driver.get(PODS, accept=TABLE)["kind"] == "Table")

        rows = json.dumps(table([row("a", 3), row("b", 4)], 9)).encode()
        self.feed(PODS, rows, accept=TABLE)
        self.feed(PODS, list_of([pod("a", 3), pod("b", 4)], 12))
        self.assertTrue(columns())
        self.assertEqual(self.driver.get(f"{PODS}?resourceVersion=10", accept=TABLE)["kind"], "PodList")
        self.assertEqual(
            self.driver.names(f"{PODS}?resourceVersionMatch=Exact&resourceVersion=12"), ["a", "b"]
        )
        for items in ([pod("a", 3)], [pod("a", 3), pod("b", 13)], [pod(name, 3) for name in "abc"]):
            self.setUp()
            self.feed(PODS, rows, accept=TABLE)
            self.feed(PODS, list_of(items, 14))
            self.assertFalse(columns())

    def test_a_table_of_an_object_that_is_deleted(self) -> None:
        self.feed(f"{PODS}/a", self.table(9, "a"), accept=TABLE)
        self.assertEqual(self.driver.status(f"{PODS}/a", accept=TABLE), 200)
        self.feed(PODS, list_of([], 12))
        self.assertEqual(self.driver.status(f"{PODS}/a", accept=TABLE), 404)

    def test_a_404_ends_a_table(self) -> None:
        self.feed(f"{PODS}/a", self.table(9, "a"), accept=TABLE)
        self.feed(f"{PODS}/a", b'{"kind":"Status","reason":"NotFound","code":404}', 404, accept=TABLE)
        self.assertEqual(self.driver.status(f"{PODS}/a", accept=TABLE), 404)
        self.feed(f"{PODS}/a", self.table(14, "a"), accept=TABLE)
        self.assertEqual(self.driver.status(f"{PODS}/a", accept=TABLE), 200)

    def test_metadata_alone_is_another_form(self) -> None:
        partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
        self.feed(PODS, list_of([pod("a", 3)], 9, "PartialObjectMetadataList"), accept=partial)
        self.assertEqual(self.driver.status(PODS), 503)
        self.assertEqual(self.driver.get(PODS, accept=partial)["kind"], "PartialObjectMetadataList")

    def test_gzip_of_one_and_of_many_members(self) -> None:
        body = list_of([pod("a", 3)], 9)
        for encoded in (gzipped([body]), gzipped([body[:10], body[10:]])):
            driver = Driver()
            driver.feed(PODS, encoded, encoding=b"gzip")
            self.assertEqual(driver.names(PODS), ["a"])

    def test_gzip_cut_short_changes_nothing(self) -> None:
        self.feed(PODS, list_of([pod("old", 1)], 2))
        body = gzipped([list_of([pod("a", 3)], 9)])
        self.feed(PODS, body[:-5], encoding=b"gzip")
        self.assertEqual(self.driver.names(PODS), ["old"])

    def test_an_encoding_that_is_not_read(self) -> None:
        self.assertIsNone(self.driver.begin(PODS, encoding=b"br"))

    def test_discovery_and_schemas(self) -> None:
        aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
        self.feed("/apis", b"[1]", accept=aggregated, content_type=aggregated.split(",")[0])
        self.assertEqual(self.driver.get("/apis", accept=aggregated), [1])
        self.assertEqual(self.driver.status("/apis"), 503)
        schema = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
        returned = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
        self.feed("/openapi/v2?timeout=32s", b"\x0a\x01", accept=schema, content_type=returned)
        answer = self.driver.ask("/openapi/v2?timeout=5s", accept=schema)
        assert isinstance(answer, Answer)
        self.assertEqual(
            (answer.body, dict(answer.headers)[b"Content-Type"]), (b"\x0a\x01", returned.encode())
        )
        self.feed("/version", b"{}")
        self.assertEqual(self.driver.get("/version", accept="*/*"), {})

    def test_entity_tags(self) -> None:
        self.feed("/openapi/v3", b'{"paths":{}}', etag=b'"abc"')
        self.driver.reboot()
        for sent, wanted in (
            ('"abc"', 304),
            ('W/"abc"', 304),
            ('"x", "abc"', 304),
            ("*", 304),
            ('"abd"', 200),
        ):
            answer = self.driver.ask("/openapi/v3", none_match=sent)
            assert isinstance(answer, Answer)
            self.assertEqual(answer.status, wanted, sent)
            self.assertEqual(dict(answer.headers)[b"ETag"], b'"abc"')
            self.assertEqual(bool(answer.body), wanted == 200)

    def test_a_304_makes_a_document_young(self) -> None:
        self.feed("/apis", b"{}", etag=b'"abc"')
        self.driver.now += 500
        for tag, age in ((b'"other"', b"500"), (b"", b"500"), (b'"abc"', b"0")):
            self.assertIsNone(self.driver.begin("/apis", 304, etag=tag))
            answer = self.driver.ask("/apis")
            assert isinstance(answer, Answer)
            self.assertEqual(dict(answer.headers)[b"Age"], age)

    def test_a_schema_takes_the_place_of_its_former_hash(self) -> None:
        self.feed("/openapi/v3/apis/apps/v1?hash=A", b"1")
        self.feed("/openapi/v3/api/v1?hash=A", b"2")
        self.feed("/openapi/v3/apis/apps/v1?hash=B", b"3")
        self.assertEqual(self.driver.status("/openapi/v3/apis/apps/v1?hash=A"), 503)
        self.assertEqual(self.driver.get("/openapi/v3/apis/apps/v1?hash=B"), 3)
        self.assertEqual(self.driver.get("/openapi/v3/api/v1?hash=A"), 2)
