"""Tables are kept by rows: lists, gets and watches of them feed and answer each other."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from superedge.liteapiserver.cache.answers import Answer, WatchAnswer
from superedge.liteapiserver.cache.eviction import Limits
from tests.liteapiserver.cache.driver import (
    COLUMNS,
    PODS,
    TABLE,
    Driver,
    Object,
    list_of,
    pod,
    row,
    table,
    typed,
)

INITIAL = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"


def table_event(type_: str, each: Object, columns: list[Object] | None = None) -> bytes:
    version = each["object"]["metadata"]["resourceVersion"]
    return json.dumps({"type": type_, "object": table([each], version, columns)}).encode() + b"\n"


def table_bookmark(version: int, end: bool = False) -> bytes:
    """As the API server makes it: the row of an object that has nothing but metadata."""
    meta: Object = {"resourceVersion": str(version), "creationTimestamp": None}
    if end:
        meta["annotations"] = {"k8s.io/initial-events-end": "true"}
    target = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
    rows = [{"cells": ["", "<unknown>"], "object": target}]
    return json.dumps({"type": "BOOKMARK", "object": table(rows, version, [])}).encode() + b"\n"


class TableTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.driver = Driver()

    def feed(self, target: str, *rows: Object, version: int = 9) -> None:
        self.driver.feed(target, json.dumps(table(rows, version)).encode(), accept=TABLE)

    def read(self, target: str, **options: Any) -> tuple[list[str], list[Object]]:
        """The rows' first cells and the columns."""
        found = self.driver.get(target, accept=TABLE, **options)
        self.assertEqual((found["kind"], found["apiVersion"]), ("Table", "meta.k8s.io/v1"))
        return sorted(each["cells"][0] for each in found["rows"]), found["columnDefinitions"]

    def test_ages_are_counted_on(self) -> None:
        """In lists, gets and watches, of rows that say when their object was made."""
        column: Object = {"name": "Age", "type": "string", "format": "", "description": "", "priority": 0}
        rows = [row(name, version) for version, name in enumerate("abc", 3)]
        for each in rows:
            each["cells"].append("5s")
        for each in rows[:2]:
            each["object"]["metadata"]["creationTimestamp"] = "1970-01-01T00:16:40Z"
        rows[1]["conditions"] = [{"type": "Completed"}]
        path = "Custom resource definition column (in JSONPath format): "
        ages = [column, {**column, "description": f"{path}.metadata.creationTimestamp"}]
        others = [{**column, "name": "Since"}, {**column, "description": f"{path}.status.since"}]
        for described in (*ages, *others):
            self.setUp()
            body = json.dumps(table(rows, 9, [*COLUMNS, described])).encode()
            self.driver.feed(PODS, body, accept=TABLE)
            self.driver.now += 3600 + 5 * 60
            wanted = ["65m", "65m", "5s"] if described in ages else ["5s"] * 3
            for _ in range(2):
                found = self.driver.get(PODS, accept=TABLE)["rows"]
                self.assertEqual([each["cells"][1] for each in found], wanted)
                self.assertEqual(found[1]["conditions"], [{"type": "Completed"}])
                self.assertEqual([each["object"] for each in found], [each["object"] for each in rows])
                one = self.driver.get(f"{PODS}/a", accept=TABLE)["rows"]
                self.assertEqual(one[0]["cells"], ["a", wanted[0]])
                watch = self.driver.ask(f"{PODS}?watch=true", accept=TABLE)
                assert isinstance(watch, WatchAnswer)
                told = [json.loads(frame)["object"]["rows"][0]["cells"][1] for frame in watch.frames]
                self.assertEqual(told, wanted)
                self.driver.reboot()
            self.driver.now = 5.0
            found = self.driver.get(PODS, accept=TABLE)["rows"]
            self.assertEqual([each["cells"][1] for each in found], ["5s"] * 3, "a node without the time")

    def test_list_and_get_and_reboot(self) -> None:
        self.feed(PODS, row("a", 3), row("b", 4))
        for _ in range(2):
            self.assertEqual(self.read(PODS), (["a", "b"], COLUMNS))
            self.assertEqual(self.driver.get(PODS, accept=TABLE)["metadata"]["resourceVersion"], "9")
            self.assertEqual(self.read(f"{PODS}/a"), (["a"], COLUMNS))
            self.assertEqual(self.driver.status(f"{PODS}/c", accept=TABLE), 404)
            self.assertEqual(self.driver.status(f"{PODS}/a"), 503)  # no such JSON was seen
            self.driver.reboot()

    def test_selectors(self) -> None:
        self.feed("/api/v1/pods", row("a", 3, app="x"), row("b", 4), row("c", 5, "other", app="x"))
        self.assertEqual(self.read(f"{PODS}?labelSelector=app%3Dx")[0], ["a"])
        self.assertEqual(self.read("/api/v1/pods?fieldSelector=metadata.name%3Dc")[0], ["c"])
        status = self.driver.status(f"{PODS}?fieldSelector=spec.nodeName%3Dn", accept=TABLE)
        self.assertEqual(status, 503)  # a row does not tell

    def test_pages(self) -> None:
        first: Object = table([row("a", 3)], 9)
        first["metadata"]["continue"] = "t"
        self.driver.feed(f"{PODS}?limit=1", json.dumps(first).encode(), accept=TABLE)
        self.assertEqual(self.driver.status(PODS, accept=TABLE), 503)
        self.feed(f"{PODS}?limit=1&continue=t", row("b", 4))
        self.assertEqual(self.read(PODS)[0], ["a", "b"])

    def test_a_watch_goes_on_from_a_list(self) -> None:
        self.feed(PODS, row("a", 3), row("b", 4))
        self.driver.watch(
            f"{PODS}?resourceVersion=9",
            table_event("ADDED", row("c", 10), COLUMNS),
            table_event("DELETED", row("a", 11)),
            table_event("MODIFIED", row("b", 12)),
            table_bookmark(20),
            accept=TABLE,
        )
        for _ in range(2):
            self.assertEqual(self.read(PODS), (["b", "c"], COLUMNS))
            self.assertEqual(self.driver.get(PODS, accept=TABLE)["metadata"]["resourceVersion"], "20")
            self.driver.reboot()

    def events(self, target: str) -> list[tuple[str, list[Any], str, bool]]:
        answer = self.driver.ask(f"{target}&watch=true", accept=TABLE)
        assert isinstance(answer, WatchAnswer), answer
        found = []
        for frame in answer.frames:
            event = json.loads(frame)
            each = event["object"]
            self.assertEqual(each["kind"], "Table")
            cells = [cell for one in each["rows"] for cell in one["cells"]]
            columns = each["columnDefinitions"]
            found.append((event["type"], cells, each["metadata"]["resourceVersion"], bool(columns)))
        return found

    def test_a_watch_is_replayed_with_its_columns_once(self) -> None:
        self.driver.watch(
            f"{PODS}?{INITIAL}",
            table_event("ADDED", row("a", 3), COLUMNS),
            table_event("ADDED", row("b", 4)),
            table_bookmark(9, end=True),
            table_event("DELETED", row("a", 10)),
            table_event("ADDED", row("c", 11)),
            accept=TABLE,
        )
        for _ in range(2):
            self.assertEqual(
                self.events(f"{PODS}?{INITIAL}"),
                [
                    ("ADDED", ["b"], "4", True),
                    ("ADDED", ["c"], "11", False),
                    ("BOOKMARK", [], "11", False),
                ],
            )
            self.driver.reboot()
        self.assertEqual(self.read(PODS)[0], ["b", "c"])

    def test_a_watch_from_before(self) -> None:
        self.feed(PODS, row("a", 3))
        self.driver.watch(f"{PODS}?resourceVersion=9", table_event("DELETED", row("a", 10)), accept=TABLE)
        self.assertEqual(self.events(f"{PODS}?resourceVersion=9"), [("DELETED", ["a"], "10", True)])

    def test_the_end_bookmark_of_a_replay_is_read_again(self) -> None:
        self.feed(PODS, row("a", 3))
        answer = self.driver.ask(f"{PODS}?{INITIAL}&watch=true", accept=TABLE)
        assert isinstance(answer, WatchAnswer)
        second = Driver()
        second.watch(f"{PODS}?{INITIAL}", *answer.frames, accept=TABLE)
        found = second.get(PODS, accept=TABLE)
        self.assertEqual(found, self.driver.get(PODS, accept=TABLE))

    def test_other_columns_than_before(self) -> None:
        self.feed(PODS, row("a", 3), row("b", 4))
        more: list[Object] = [*COLUMNS, {"name": "Age"}]
        body = json.dumps(table([row("c", 12)], 12, more)).encode()
        self.driver.feed(f"{PODS}?labelSelector=new", body, accept=TABLE)
        for _ in range(2):
            self.assertEqual(self.driver.status(PODS, accept=TABLE), 503)
            self.assertEqual(self.read(f"{PODS}?labelSelector=new"), (["c"], more))
            self.driver.reboot()

    def test_rows_with_whole_objects_are_another_form(self) -> None:
        whole = {"cells": ["a"], "object": typed({**pod("a", 3), "spec": {"nodeName": "n"}})}
        other = {"cells": ["b"], "object": typed(pod("b", 4))}
        self.feed(f"{PODS}?includeObject=Object", whole, other)
        self.assertEqual(self.driver.status(PODS, accept=TABLE), 503)
        self.assertEqual(self.read(f"{PODS}?includeObject=Object")[0], ["a", "b"])
        selected = f"{PODS}?includeObject=Object&fieldSelector=spec.nodeName%3Dn"
        self.assertEqual(self.read(selected)[0], ["a"])
        self.driver.reboot()
        self.assertEqual(self.read(f"{PODS}?includeObject=Object")[0], ["a", "b"])
        answer = self.driver.ask(f"{PODS}?includeObject=Object", accept=TABLE)
        assert isinstance(answer, Answer)
        self.assertEqual(dict(answer.headers)[b"Content-Type"], b"application/json")

    def test_rows_without_objects_are_kept_whole(self) -> None:
        self.feed(f"{PODS}?includeObject=None", {"cells": ["a"], "object": None})
        for _ in range(2):
            self.assertEqual(self.read(f"{PODS}?includeObject=None")[0], ["a"])
            self.assertEqual(self.driver.status(PODS, accept=TABLE), 503)
            self.driver.reboot()

    def test_what_is_deleted_in_one_form_is_not_shown_in_another(self) -> None:
        self.feed(PODS, row("a", 3))
        self.driver.feed(PODS, list_of([pod("a", 3)], 9))
        self.driver.watch(
            f"{PODS}?resourceVersion=9",
            json.dumps({"type": "DELETED", "object": typed(pod("a", 10))}).encode() + b"\n",
        )
        self.assertEqual(self.driver.status(f"{PODS}/a"), 404)
        self.assertEqual(self.driver.status(f"{PODS}/a", accept=TABLE), 404)

    def test_what_is_newer_in_one_form_is_not_absent_in_another(self) -> None:
        self.driver.feed(PODS, list_of([], 9))
        self.feed(f"{PODS}/a", row("a", 12))
        self.assertEqual(self.driver.status(f"{PODS}/a"), 503)
        self.assertEqual(self.read(f"{PODS}/a")[0], ["a"])

    def test_columns_of_nothing_are_collected(self) -> None:
        self.driver = Driver(limits=Limits(1_000_000, 1))
        self.feed(PODS, row("a", 3), row("b", 4))
        self.assertIn("shared", {kind for kind, _ in self.driver.records})
        self.driver.cache.evict()
        self.assertEqual(self.driver.records, {})
        self.feed(f"{PODS}/a", row("a", 13))
        self.driver.reboot()
        self.assertEqual(self.read(f"{PODS}/a"), (["a"], COLUMNS))

    def test_events_of_a_server_that_knows_no_tables(self) -> None:
        self.driver.watch(
            f"{PODS}?{INITIAL}",
            json.dumps({"type": "ADDED", "object": typed(pod("a", 3))}).encode() + b"\n",
            accept=TABLE,
        )
        self.assertEqual(self.driver.status(PODS, accept=TABLE), 503)

    def test_damaged_tables(self) -> None:
        self.feed(PODS, row("a", 3))
        for broken in (
            b'{"kind":"Table"}',
            b'{"kind":"Table","rows":[{"cells":[]}],"metadata":{"resourceVersion":"12"}}',
            b'{"kind":"Table","rows":[7]}',
            json.dumps(table([row("z", 12)], 12)).encode()[:-9],
        ):
            self.driver.feed(f"{PODS}/a", broken, accept=TABLE)
            if b"rows" in broken:
                self.driver.feed(PODS, broken, accept=TABLE)
        self.assertEqual(self.read(PODS)[0], ["a"])
