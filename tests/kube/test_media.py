from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from superedge.kube.media import JSON, PROTOBUF, Representation, accepted, parse_media_type, without_cbor

TABLE = Representation(JSON, "Table", "meta.k8s.io", "v1")


class MediaTests(SynchronousTestCase):
    def test_parameters(self) -> None:
        self.assertEqual(parse_media_type("application/json; charset=utf-8"), Representation(JSON))
        self.assertEqual(parse_media_type("application/json;as=Table;v=v1;g=meta.k8s.io"), TABLE)
        self.assertEqual(parse_media_type(f"{PROTOBUF};stream=watch"), Representation(PROTOBUF))
        self.assertEqual(parse_media_type(TABLE.content_type), TABLE)

    def test_a_list_of_metadata_is_metadata(self) -> None:
        found = parse_media_type("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")
        self.assertEqual(found.kind, "PartialObjectMetadata")

    def test_what_a_client_takes(self) -> None:
        kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
        self.assertEqual(accepted(kubectl), (TABLE, Representation(JSON)))
        self.assertEqual(accepted(f"{PROTOBUF},{JSON}"), (Representation(PROTOBUF), Representation(JSON)))
        self.assertEqual(accepted(""), (Representation(JSON),))
        self.assertEqual(accepted("*/*"), (Representation(JSON),))
        weighted = f"{JSON};q=0.5, {PROTOBUF}, text/plain;q=0"
        self.assertEqual(accepted(weighted), (Representation(PROTOBUF), Representation(JSON)))

    def test_streams(self) -> None:
        self.assertEqual(Representation(PROTOBUF).stream_type, f"{PROTOBUF};stream=watch")
        self.assertEqual(Representation(JSON).stream_type, JSON)

    def test_cbor_goes_and_the_rest_stays(self) -> None:
        kept = b"application/vnd.kubernetes.protobuf, application/json;q=0.9"
        self.assertEqual(without_cbor(kept), kept)
        self.assertEqual(without_cbor(b"application/cbor," + kept), kept)
        self.assertEqual(without_cbor(b"application/cbor"), b"application/json")
