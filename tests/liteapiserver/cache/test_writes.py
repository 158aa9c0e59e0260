"""What a client wrote itself is not contradicted by what it read before."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from superedge.kube.media import PROTOBUF
from superedge.kube.protobuf import ProtobufCodec
from superedge.kube.wire import field, number_field
from tests.liteapiserver.cache.driver import (
    COLUMNS,
    PODS,
    TABLE,
    Driver,
    Object,
    bookmark,
    event,
    list_of,
    pod,
    row,
    table,
    typed,
)

LABELLED = f"{PODS}?labelSelector=app%3Dx"
MAPS = "/api/v1/namespaces/default/configmaps"
PARTIAL = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


def body(item: Object, kind: str = "Pod", **meta: Any) -> bytes:
    return json.dumps(typed({**item, "metadata": {**item["metadata"], **meta}}, kind)).encode()


def success(uid: str = "") -> bytes:
    details = {"name": "a", "kind": "pods", **({"uid": uid} if uid else {})}
    return json.dumps(
        {"kind": "Status", "apiVersion": "v1", "status": "Success", "details": details}
    ).encode()


class WriteCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.driver = Driver()
        self.feed, self.write = self.driver.feed, self.driver.write
        self.feed(PODS, list_of([pod("a", 3), pod("b", 4, app="x")], 9))

    def before_and_after_a_reboot(self, check: Callable[[], None]) -> None:
        check()
        self.driver.reboot()
        check()

    def version(self, target: str) -> str:
        return str(self.driver.get(target)["metadata"]["resourceVersion"])


class ShownTests(WriteCase):
    def test_created(self) -> None:
        """Under a name that the API server made, for one; the list is as new as it was."""
        self.feed(LABELLED, list_of([pod("b", 4, app="x")], 9))
        self.write("POST", PODS, body(pod("c", 20, app="x")))

        def check() -> None:
            self.assertEqual(self.driver.status(f"{PODS}/c"), 200)
            self.assertEqual(self.driver.names(PODS), ["a", "b", "c"])
            self.assertEqual(self.driver.names(LABELLED), ["b", "c"])
            self.assertEqual(self.version(PODS), "9")
            self.assertEqual(self.driver.events(f"{PODS}?resourceVersion=9"), [("ADDED", "c", "20")])

        self.before_and_after_a_reboot(check)

    def test_created_where_a_404_was(self) -> None:
        self.feed(f"{PODS}/c", b'{"kind":"Status","reason":"NotFound","code":404}', 404)
        self.write("POST", PODS, body(pod("c", 20)))
        self.before_and_after_a_reboot(lambda: self.assertEqual(self.driver.status(f"{PODS}/c"), 200))

    def test_updated_and_patched(self) -> None:
        self.feed(LABELLED, list_of([pod("b", 4, app="x")], 9))
        for method, target, version in (
            ("PUT", "a", 20),
            ("PATCH", "a", 21),
            ("PATCH", "a/status", 22),
            ("PUT", "a/resize", 23),
        ):
            self.write(method, f"{PODS}/{target}", body(pod("a", version, app="x")))
            self.assertEqual(self.version(f"{PODS}/a"), str(version), target)
        self.write("PATCH", f"{PODS}/b", body(pod("b", 24)))

        def check() -> None:
            self.assertEqual(self.driver.names(LABELLED), ["a"], "one came to be selected, one no longer is")
            self.assertEqual(self.driver.names(PODS), ["a", "b"])

        self.before_and_after_a_reboot(check)

    def test_selected_by_a_field_of_a_custom_resource(self) -> None:
        cars = "/apis/shop.example/v1/namespaces/default/cars"
        for kind, value, other in (("text", "red", "blue"), ("number", 5, 6), ("flag", True, False)):
            selected = f"{cars}?fieldSelector=spec.{kind}%3D{json.dumps(value).strip(chr(34))}"
            self.feed(selected, list_of([], 9, "CarList"))
            for number, each in enumerate((value, other)):
                car = {**pod(f"{kind}-{number}", 20), "spec": {kind: each}}
                self.write("POST", cars, body(car, "Car"))
            self.assertEqual(self.driver.names(selected), [f"{kind}-0"])

    def test_selected_by_a_field_that_is_not_read_here(self) -> None:
        """Whether the list shows the new object is not known; a get of others tells nothing of it."""
        selected = f"{PODS}?fieldSelector=status.podIP%3D10.0.0.1"
        self.feed(selected, list_of([], 9))
        self.feed(f"{PODS}/d", body(pod("d", 19)))
        self.assertEqual(self.driver.names(selected), [])
        self.write("POST", PODS, body(pod("c", 20)))
        self.before_and_after_a_reboot(lambda: self.assertEqual(self.driver.status(selected), 503))

    def test_what_leaves_a_list_is_told_to_who_watches(self) -> None:
        self.feed(LABELLED, list_of([pod("b", 4, app="x")], 9))
        self.write("PATCH", f"{PODS}/b", body(pod("b", 24)))
        self.assertEqual(self.driver.events(f"{LABELLED}&resourceVersion=9"), [("DELETED", "b", "24")])

    def test_in_another_version_of_the_api(self) -> None:
        """What was read in one version is not proof against what was written in another."""
        old, new = (f"/apis/shop.example/{each}/namespaces/default/tills" for each in ("v1", "v2"))
        self.feed(old, list_of([pod("a", 3), pod("b", 4)], 9, "TillList"))
        self.feed(f"{old}/c", b'{"kind":"Status","reason":"NotFound","code":404}', 404)
        for method, target, answer in (
            ("POST", new, body(pod("c", 20), "Till")),
            ("PATCH", f"{new}/a", body(pod("a", 21), "Till")),
            ("DELETE", f"{new}/b", success()),
        ):
            self.write(method, target, answer)
        self.assertEqual({key[2] for _, key in self.driver.records}, {"v1"}, "the new one was not read")

        def check() -> None:
            for target in (old, f"{old}/a", f"{old}/b", f"{old}/c"):
                self.assertEqual(self.driver.status(target), 503, target)

        self.before_and_after_a_reboot(check)

    def test_a_watch_that_goes_on(self) -> None:
        """It tells of the write in its order, and moves the version."""
        watch = self.driver.watch(f"{PODS}?resourceVersion=9")
        self.write("POST", PODS, body(pod("c", 20)))
        self.assertEqual(self.driver.names(PODS), ["a", "b", "c"])
        watch.data([event("MODIFIED", pod("a", 15)), event("ADDED", pod("c", 20)), bookmark(21)])
        self.assertEqual(self.driver.names(PODS), ["a", "b", "c"])
        self.assertEqual(self.version(PODS), "21")

    def test_a_list_that_was_on_its_way(self) -> None:
        for late_version in (12, 30):
            self.setUp()
            late = self.driver.begin(PODS)
            assert late is not None
            self.write("POST", PODS, body(pod("c", 20)))
            late.data([list_of([pod("a", 3)], late_version)])
            late.complete()
            wanted = ["a", "c"] if late_version == 12 else ["a"]
            self.assertEqual(self.driver.names(PODS), wanted)

    def test_dry_runs_and_what_was_never_read(self) -> None:
        self.write("POST", f"{PODS}?dryRun=All", body(pod("c", 20)))
        self.write("POST", MAPS, body(pod("c", 20), "ConfigMap"))
        self.write("POST", PODS, body(pod("c", 20)), identity="cert:other")
        for options in (
            b'{"kind":"DeleteOptions","dryRun":["All"]}',
            b"k8s\0" + field(2, field(5, b"All")),
            b"dryRun: [All]",
            b"\xa1fdryRun\x81cAll",
        ):
            self.write("DELETE", f"{PODS}/a", success(), options=options)
        self.write("DELETE", f"{PODS}/a?dryRun=All", success())
        self.assertEqual(self.driver.names(PODS), ["a", "b"])
        self.assertEqual(len(self.driver.cache.collections()), 1)

    def test_answers_of_another_kind(self) -> None:
        """They change the object, and do not show how: neither it nor its list is as it was."""
        scale = json.dumps({"kind": "Scale", "apiVersion": "autoscaling/v1", **pod("a", 20)}).encode()
        for method, target, answer in (
            ("PATCH", "a/scale", scale),
            ("POST", "a/eviction", success()),
            ("POST", "a/binding", success()),
        ):
            self.setUp()
            self.write(method, f"{PODS}/{target}", answer)
            self.assertEqual(self.driver.status(f"{PODS}/a"), 503, target)
            self.assertEqual(self.driver.status(PODS), 503, target)
            self.assertEqual(self.driver.status(f"{PODS}/b"), 200, target)
            self.assertEqual(len(self.driver.cache.collections()), 1)
        for target in ("a/exec", "a/attach", "a/portforward", "a/proxy", "a/token"):
            self.setUp()
            self.write("POST", f"{PODS}/{target}", success())
            self.assertEqual(self.driver.names(PODS), ["a", "b"], target)

    def test_an_answer_that_cannot_be_read(self) -> None:
        driver = self.driver = Driver(max_body=1000)
        for method, target in (("POST", PODS), ("PUT", f"{PODS}/a"), ("DELETE", f"{PODS}/a")):
            for answer in (b"garbage", b"x" * 5000):
                driver.feed(PODS, list_of([pod("a", 3), pod("b", 4)], 9))
                driver.write(method, target, answer)
                self.assertEqual(driver.status(PODS), 503, (method, answer[:9]))
                self.assertEqual(driver.status(f"{PODS}/b"), 200)

    def test_an_answer_that_is_cut_short(self) -> None:
        """It takes nothing away, save a 404."""
        self.feed(f"{PODS}/c", b'{"kind":"Status","reason":"NotFound","code":404}', 404)
        for method, target in (("POST", PODS), ("PUT", f"{PODS}/c"), ("DELETE", f"{PODS}/a")):
            recorder = self.driver.begin_write(method, target)
            assert recorder is not None
            recorder.data([b"{"])
            recorder.abort()
        self.assertEqual(self.driver.names(PODS), ["a", "b"])

    def test_in_protobuf(self) -> None:
        codec, driver = ProtobufCodec(), Driver()

        def raw(name: str, version: int) -> bytes:
            meta = field(1, name.encode()) + field(3, b"default") + field(5, b"u-1")
            return field(1, meta + field(6, b"%d" % version))

        driver.feed(PODS, codec.encode_list("PodList", "v1", "9", [raw("a", 3)]), accept=PROTOBUF)
        driver.write("POST", PODS, codec.encode_object("Pod", "v1", raw("b", 20)), accept=PROTOBUF)

        def names() -> list[str]:
            answer = driver.ask(PODS, accept=PROTOBUF)
            assert not isinstance(answer, list)
            return [item.name for item in codec.decode_list(answer.body).items]  # type: ignore[union-attr]

        self.assertEqual(names(), ["a", "b"])
        other, same = (field(5, field(6, uid)) for uid in (b"u-2", b"u-1"))
        for status, left in ((other, ["a", "b"]), (same, ["b"])):
            answer = codec.encode_object("Status", "v1", status)
            driver.write("DELETE", f"{PODS}/a", answer, accept=PROTOBUF)
            self.assertEqual(names(), left)
        waiting = raw("b", 21)
        waiting = field(1, waiting[2:] + field(9, b"") + number_field(10, 30))
        answer = codec.encode_object("Pod", "v1", waiting)
        driver.write("DELETE", f"{PODS}/b", answer, accept=PROTOBUF)
        self.assertEqual(names(), ["b"], "it ends in 30 s")


class DeletedTests(WriteCase):
    def check_deleted(self, version: int = 9) -> None:
        def check() -> None:
            self.assertEqual(self.driver.status(f"{PODS}/a"), 404)
            self.assertEqual(self.driver.names(PODS), ["b"])

        check()
        told = self.driver.events(f"{PODS}?resourceVersion={version}")
        self.assertEqual([each[:2] for each in told], [("DELETED", "a")])
        self.driver.reboot()
        check()

    def test_by_a_status(self) -> None:
        self.write("DELETE", f"{PODS}/a", success())
        self.check_deleted()

    def test_with_options_in_cbor(self) -> None:
        """A map: ``{"kind": "DeleteOptions", "propagationPolicy": "Background"}``."""
        options = b"\xd9\xd9\xf7\xa2dkindmDeleteOptionsqpropagationPolicyjBackground"
        self.write("DELETE", f"{PODS}/a", success(), options=options)
        self.check_deleted()

    def test_by_the_object(self) -> None:
        ended: Object = {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0}
        for meta in (Object(), ended):
            self.setUp()
            self.write("DELETE", f"{PODS}/a", body(pod("a", 20), **meta))
            self.check_deleted()

    def test_a_deletion_that_waits(self) -> None:
        began: Object = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
        for meta in ({"finalizers": ["x"]}, {"deletionGracePeriodSeconds": 30}):
            self.setUp()
            self.write("DELETE", f"{PODS}/a", body(pod("a", 20), **began, **meta))
            self.assertIn("deletionTimestamp", self.driver.get(f"{PODS}/a")["metadata"])
            self.assertEqual(self.driver.names(PODS), ["a", "b"])
            self.write("PATCH", f"{PODS}/a", body(pod("a", 21), **began))
            self.check_deleted()
        spaces = "/api/v1/namespaces"
        self.feed(
            spaces, list_of([{"metadata": {"name": "shop", "resourceVersion": "3"}}], 9, "NamespaceList")
        )
        gone = {"metadata": {"name": "shop", "resourceVersion": "20", **began}}
        self.write("DELETE", f"{spaces}/shop", json.dumps(typed(gone, "Namespace")).encode())
        self.assertEqual(self.driver.names(spaces), ["shop"])

    def test_nothing_brings_it_back_but_a_new_one(self) -> None:
        late = self.driver.begin(PODS)
        got = self.driver.begin(f"{PODS}/a")
        assert late is not None
        assert got is not None
        self.write("DELETE", f"{PODS}/a", success())
        late.data([list_of([pod("a", 3), pod("b", 4)], 11)])
        late.complete()
        got.data([body(pod("a", 3))])
        got.complete()
        self.check_deleted(11)
        self.write("POST", PODS, body(pod("a", 30)))
        self.assertEqual(self.driver.names(PODS), ["a", "b"])
        self.assertEqual(self.driver.status(f"{PODS}/a"), 200)

    def test_one_of_another_uid(self) -> None:
        """It was made anew before the answer came."""
        self.feed(f"{PODS}/a", body(pod("a", 20), uid="new"))
        self.write("DELETE", f"{PODS}/a", success("old"))
        self.assertEqual(self.driver.names(PODS), ["a", "b"])
        self.write("DELETE", f"{PODS}/a", success("new"))
        self.check_deleted()

    def test_a_watch_tells_the_version_of_the_deletion(self) -> None:
        watch = self.driver.watch(f"{PODS}?resourceVersion=9")
        self.write("DELETE", f"{PODS}/a", success())
        watch.data([event("MODIFIED", pod("b", 15)), event("DELETED", pod("a", 20))])
        self.assertEqual(self.driver.names(PODS), ["b"])
        self.assertEqual(self.driver.events(f"{PODS}?resourceVersion=15"), [("DELETED", "a", "20")])

    def test_a_collection(self) -> None:
        maps = [pod(name, at) for at, name in enumerate("abc", 3)]
        maps[2]["metadata"]["finalizers"] = ["x"]
        self.feed(MAPS, list_of(maps, 9, "ConfigMapList"))
        self.write("DELETE", f"{MAPS}?labelSelector=x", list_of([maps[0]], 12, "ConfigMapList"))
        self.before_and_after_a_reboot(lambda: self.assertEqual(self.driver.names(MAPS), ["b", "c"]))
        self.assertEqual(self.driver.status(f"{MAPS}/a"), 404)
        self.write("DELETE", MAPS, list_of(maps[1:], 13, "ConfigMapList"))
        self.assertEqual([self.driver.status(f"{MAPS}/{name}") for name in "abc"], [404, 404, 503])
        self.assertEqual(self.driver.status(MAPS), 503, "what has finalizers is there, or is not")
        self.write("DELETE", PODS, success())
        self.assertEqual([self.driver.status(f"{PODS}{name}") for name in ("", "/a", "/b")], [503] * 3)


class OtherFormTests(WriteCase):
    """kubectl writes JSON and lists Tables."""

    def setUp(self) -> None:
        super().setUp()
        self.list_rows(9, row("a", 3), row("b", 4))

    def list_rows(self, version: int, *rows: Object) -> None:
        columns: list[Object] = [*COLUMNS, {"name": "Ready", "type": "string", "format": ""}]
        for each in rows:
            each["cells"].append("1/1")
        self.feed(PODS, json.dumps(table(rows, version, columns)).encode(), accept=TABLE)

    def cells(self) -> list[list[str]]:
        return [each["cells"] for each in self.driver.get(PODS, accept=TABLE)["rows"]]

    def test_rows_of_what_was_written(self) -> None:
        """Their names are known, and their other cells are not."""
        self.write("POST", PODS, body(pod("c", 20)))
        self.write("PATCH", f"{PODS}/b", body(pod("b", 21, app="y")))
        self.write("DELETE", f"{PODS}/a", success())

        def check() -> None:
            self.assertEqual(self.cells(), [["b", "<unknown>"], ["c", "<unknown>"]])
            found = self.driver.get(PODS, accept=TABLE)["rows"][0]["object"]
            self.assertEqual(found["kind"], "PartialObjectMetadata")
            self.assertEqual(found["metadata"]["labels"], {"app": "y"})

        self.before_and_after_a_reboot(check)

    def test_rows_that_are_listed_after_a_write(self) -> None:
        """They are whole again, although they are of the version that the write was answered with."""
        self.write("PATCH", f"{PODS}/b", body(pod("b", 21, app="y")))
        self.list_rows(25, row("a", 3), row("b", 21))
        whole = [["a", "1/1"], ["b", "1/1"]]
        self.before_and_after_a_reboot(lambda: self.assertEqual(self.cells(), whole))

    def test_a_write_that_changed_nothing(self) -> None:
        self.write("PATCH", f"{PODS}/b", body(pod("b", 4)))
        whole = [["a", "1/1"], ["b", "1/1"]]
        self.before_and_after_a_reboot(lambda: self.assertEqual(self.cells(), whole))

    def test_rows_of_what_was_written_in_protobuf(self) -> None:
        """As kubectl writes what it knows the type of."""
        codec = ProtobufCodec()
        meta = [
            field(1, b"c"),
            field(2, b""),
            field(3, b"default"),
            field(5, b"u-1"),
            field(6, b"20"),
            number_field(7, 3),
            field(8, number_field(1, 1_000_000_000)),
            field(9, b""),
            field(11, field(1, b"app") + field(2, b"x")),
            field(13, field(1, b"ReplicaSet") + field(3, b"web") + field(5, b"apps/v1") + number_field(6, 1)),
            field(14, b"superedge.test/wait"),
        ]
        answer = codec.encode_object("Pod", "v1", field(1, b"".join(meta)))
        self.write("POST", PODS, answer, accept=PROTOBUF)
        rows = self.driver.get(PODS, accept=TABLE)["rows"]
        self.assertEqual([each["cells"][0] for each in rows], ["a", "b", "c"])
        self.assertEqual(
            rows[2]["object"]["metadata"],
            {
                "name": "c",
                "namespace": "default",
                "uid": "u-1",
                "resourceVersion": "20",
                "generation": 3,
                "creationTimestamp": "2001-09-09T01:46:40Z",
                "labels": {"app": "x"},
                "ownerReferences": [
                    {
                        "kind": "ReplicaSet",
                        "name": "web",
                        "uid": "",
                        "apiVersion": "apps/v1",
                        "controller": True,
                    }
                ],
                "finalizers": ["superedge.test/wait"],
            },
        )
        self.assertEqual(self.driver.status(PODS), 503, "whole objects in JSON it cannot be in")

    def test_metadata_alone(self) -> None:
        partial = [{"metadata": pod("a", 3)["metadata"]}]
        self.feed(PODS, list_of(partial, 9, "PartialObjectMetadataList"), accept=PARTIAL)
        self.write("POST", PODS, body(pod("c", 20)))
        found = self.driver.get(PODS, accept=PARTIAL)["items"]
        self.assertEqual([item["metadata"]["name"] for item in found], ["a", "c"])
        self.assertNotIn("spec", found[1])

    def test_what_cannot_be_made_of_it(self) -> None:
        """A list in such a form lacks what was written, and counts no longer."""
        codec = ProtobufCodec()
        self.feed(PODS, codec.encode_list("PodList", "v1", "9", []), accept=PROTOBUF)
        self.write("POST", PODS, body(pod("c", 20)))
        self.assertEqual(self.driver.status(PODS, accept=PROTOBUF), 503)
        self.feed(PODS, codec.encode_list("PodList", "v1", "30", []), accept=PROTOBUF)
        self.write("PATCH", f"{PODS}/c", body(pod("c", 20)))
        self.assertEqual(self.driver.status(PODS, accept=PROTOBUF), 200, "it changed nothing")

    def test_what_is_kept_whole(self) -> None:
        yaml = "application/yaml"
        targets = (PODS, f"{PODS}/a", f"{PODS}/a/status", "/api/v1/pods")
        for target in targets:
            self.feed(target, b"kind: Pod", accept=yaml)
        for target in (MAPS, f"{PODS}/ab/status", f"{PODS}/b/status"):
            self.feed(target, b"kind: Pod", accept=yaml)
        self.write("PATCH", f"{PODS}/a", body(pod("a", 20)))
        self.assertEqual([self.driver.status(target, accept=yaml) for target in targets], [503] * 4)
        for target in (MAPS, f"{PODS}/ab/status", f"{PODS}/b/status"):
            self.assertEqual(self.driver.status(target, accept=yaml), 200)
