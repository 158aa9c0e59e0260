from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.testing.apply import apply_configuration, decode, encode, fields_of, record_update
from superedge.testing.status import APIError

NAMES = st.sampled_from(["a", "b", "c", "d"])
DATA = st.dictionaries(NAMES, st.sampled_from(["1", "2"]))


def configuration(data: dict[str, Any], **more: Any) -> dict[str, Any]:
    head = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x"}}
    return head | ({"data": data} if data else {}) | more


def applied(
    live: dict[str, Any] | None, wanted: dict[str, Any], manager: str, force: bool = False
) -> dict[str, Any]:
    return apply_configuration(live, wanted, manager, "2026-01-01T00:00:00Z", force, None)


def owners(item: dict[str, Any]) -> dict[str, set[tuple[str, ...]]]:
    return {entry["manager"]: decode(entry["fieldsV1"]) for entry in item["metadata"]["managedFields"]}


class FieldSetTests(SynchronousTestCase):
    @settings(max_examples=100)
    @given(st.dictionaries(NAMES, st.dictionaries(NAMES, st.lists(NAMES, max_size=2), min_size=1)))
    def test_encoded_and_back(self, spec: dict[str, Any]) -> None:
        paths = set(fields_of(configuration({}, spec=spec), None))
        self.assertEqual(decode(encode(paths)), paths)

    def test_what_nobody_owns(self) -> None:
        item = configuration({"a": "1"})
        item["metadata"] |= {"uid": "u", "resourceVersion": "1", "labels": {"l": "m"}}
        self.assertEqual(set(fields_of(item, None)), {("f:data", "f:a"), ("f:metadata", "f:labels", "f:l")})

    def test_keyed_lists(self) -> None:
        item = {"spec": {"ports": [{"containerPort": 80, "name": "web"}], "args": ["a"]}}
        key = 'k:{"containerPort":80,"protocol":"TCP"}'
        self.assertEqual(
            set(fields_of(item, None)),
            {
                ("f:spec", "f:args"),
                ("f:spec", "f:ports", key, "."),
                ("f:spec", "f:ports", key, "f:containerPort"),
                ("f:spec", "f:ports", key, "f:name"),
            },
        )
        self.assertEqual(set(fields_of(item, {})), {("f:spec", "f:args"), ("f:spec", "f:ports")})


class ApplyTests(SynchronousTestCase):
    @settings(max_examples=150)
    @given(st.lists(st.tuples(st.sampled_from(["alice", "bob"]), DATA), min_size=1, max_size=6))
    def test_last_forced_wishes_of_all_hold(self, wishes: list[tuple[str, dict[str, str]]]) -> None:
        live: dict[str, Any] | None = None
        owned: dict[str, dict[str, str]] = {}
        for manager, data in wishes:
            before = copy.deepcopy(live)
            after = applied(live, configuration(data), manager, force=True)
            self.assertEqual(live, before)
            live = after
            for other, fields in owned.items():
                owned[other] = {key: value for key, value in fields.items() if data.get(key, value) == value}
            owned[manager] = data
        assert live is not None
        wanted: dict[str, str] = {}
        for fields in owned.values():
            wanted |= fields
        self.assertEqual(live.get("data", {}), wanted)

    @settings(max_examples=100)
    @given(DATA, DATA)
    def test_conflicts_are_the_differing_fields(self, first: dict[str, str], second: dict[str, str]) -> None:
        live = applied(None, configuration(first), "alice")
        clashes = {key for key in first.keys() & second.keys() if first[key] != second[key]}
        if not clashes:
            merged = applied(live, configuration(second), "bob")
            self.assertEqual(merged.get("data", {}), first | second)
            return
        problem = self.assertRaises(APIError, applied, live, configuration(second), "bob")
        self.assertEqual(problem.code, 409)
        causes = problem.status()["details"]["causes"]
        self.assertEqual({cause["field"] for cause in causes}, {f".data.{key}" for key in clashes})

    def test_same_again_changes_nothing(self) -> None:
        live = applied(None, configuration({"a": "1"}), "alice")
        self.assertEqual(applied(live, configuration({"a": "1"}), "alice"), live)

    def test_given_up_item_of_a_keyed_list(self) -> None:
        def wanted(*names: str) -> dict[str, Any]:
            items = [{"name": name, "value": "1", "valueFrom": {"x": "y"}} for name in names]
            return configuration({}, spec={"env": items} if items else {})

        live = applied(applied(None, wanted("a", "c"), "alice"), wanted("b"), "bob")
        self.assertEqual({each["name"] for each in live["spec"]["env"]}, {"a", "b", "c"})
        live = applied(live, wanted("c"), "alice")
        self.assertEqual({each["name"] for each in live["spec"]["env"]}, {"b", "c"})
        live = applied(live, wanted(), "alice")
        self.assertEqual([each["name"] for each in live["spec"]["env"]], ["b"])


class RecordUpdateTests(SynchronousTestCase):
    def update(self, old: dict[str, Any], data: dict[str, Any], manager: str) -> dict[str, Any]:
        new = {**configuration(data), "metadata": copy.deepcopy(old.get("metadata", {"name": "x"}))}
        record_update(old, new, manager, "2026-01-01T00:00:00Z", "v1")
        return new

    def test_a_changed_field_changes_hands(self) -> None:
        first = self.update({}, {"a": "1", "b": "1"}, "alice")
        second = self.update(first, {"a": "1", "b": "2"}, "bob")
        self.assertEqual(owners(second), {"alice": {("f:data", "f:a")}, "bob": {("f:data", "f:b")}})

    def test_a_removed_field_is_nobodys(self) -> None:
        first = self.update({}, {"a": "1", "b": "1"}, "alice")
        self.assertEqual(owners(self.update(first, {"a": "1"}, "bob")), {"alice": {("f:data", "f:a")}})

    def test_no_change_records_nothing(self) -> None:
        first = self.update({}, {"a": "1"}, "alice")
        self.assertEqual(self.update(first, {"a": "1"}, "bob"), first)
