from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.testing.patch import PatchError, json_patch, merge_patch, strategic_merge_patch

SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.text("abc/~", max_size=3)
NAMES = st.text("abc/~", min_size=1, max_size=2)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=10,
)
OBJECTS = st.dictionaries(NAMES, JSON, max_size=4)


def escape(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


class JSONPatchTests(SynchronousTestCase):
    """RFC 6902, with its appendix A."""

    def test_examples(self) -> None:
        for document, operations, wanted in (
            ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": 1}], {"foo": "bar", "baz": 1}),
            ({"foo": [1, 3]}, [{"op": "add", "path": "/foo/1", "value": 2}], {"foo": [1, 2, 3]}),
            ({"foo": [1]}, [{"op": "add", "path": "/foo/-", "value": [2]}], {"foo": [1, [2]]}),
            ({"a": [1, 2, 3]}, [{"op": "remove", "path": "/a/1"}], {"a": [1, 3]}),
            (
                {"a": {"x": 1}, "b": {}},
                [{"op": "move", "from": "/a/x", "path": "/b/y"}],
                {"a": {}, "b": {"y": 1}},
            ),
            ({"a": [1, 2]}, [{"op": "move", "from": "/a/0", "path": "/a/1"}], {"a": [2, 1]}),
            ({"a": {"x": 1}}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": {"x": 1}, "b": {"x": 1}}),
            ({"a": 1}, [{"op": "replace", "path": "", "value": {"b": 2}}], {"b": 2}),
        ):
            self.assertEqual(json_patch(document, operations), wanted)

    def test_refused(self) -> None:
        document = {"a": [1], "b": {"c": 1}}
        for operation in (
            {"op": "remove", "path": "/none"},
            {"op": "replace", "path": "/none", "value": 1},
            {"op": "add", "path": "/a/2", "value": 1},
            {"op": "add", "path": "/a/01", "value": 1},
            {"op": "add", "path": "/none/x", "value": 1},
            {"op": "add", "path": "x", "value": 1},
            {"op": "add", "path": "/x"},
            {"op": "test", "path": "/b/c", "value": 2},
            {"op": "move", "from": "/b", "path": "/b/d"},
            {"op": "remove", "path": ""},
            {"op": "what", "path": "/a"},
            {"path": "/a"},
            "remove",
        ):
            self.assertRaises(PatchError, json_patch, document, [operation])
        self.assertRaises(PatchError, json_patch, document, {"op": "add"})
        self.assertEqual(document, {"a": [1], "b": {"c": 1}})

    @settings(max_examples=100)
    @given(OBJECTS, NAMES, JSON)
    def test_add_then_remove(self, document: dict[str, Any], name: str, value: Any) -> None:
        before, path = copy.deepcopy(document), "/" + escape(name)
        added = json_patch(
            document,
            [{"op": "add", "path": path, "value": value}, {"op": "test", "path": path, "value": value}],
        )
        self.assertEqual(added, {**document, name: value})
        gone = json_patch(added, [{"op": "remove", "path": path}])
        self.assertEqual(gone, {key: each for key, each in document.items() if key != name})
        self.assertEqual(document, before)


class MergePatchTests(SynchronousTestCase):
    """RFC 7386, with its appendix A."""

    def test_examples(self) -> None:
        for document, patch, wanted in (
            ({"a": "b"}, {"a": "c"}, {"a": "c"}),
            ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
            ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
            ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
            ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
            ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
            ({"a": "b"}, ["c"], ["c"]),
            ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
            ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ):
            self.assertEqual(merge_patch(document, patch), wanted)

    @settings(max_examples=100)
    @given(OBJECTS, OBJECTS)
    def test_applied_twice_is_applied_once(self, document: dict[str, Any], patch: dict[str, Any]) -> None:
        before = copy.deepcopy(document)
        once = merge_patch(document, patch)
        self.assertEqual(merge_patch(once, patch), once)
        self.assertEqual(document, before)


class StrategicMergePatchTests(SynchronousTestCase):
    def test_keyed_lists(self) -> None:
        document = {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}]}
        patch = {
            "containers": [
                {"name": "b", "image": "3"},
                {"name": "c", "image": "4"},
                {"name": "a", "$patch": "delete"},
            ],
        }
        merged = strategic_merge_patch(document, patch)
        wanted = [{"name": "b", "image": "3"}, {"name": "c", "image": "4"}]
        self.assertEqual(merged, {"containers": wanted})

    def test_order(self) -> None:
        document = {"env": [{"name": "a"}, {"name": "b"}]}
        patch = {
            "$setElementOrder/env": [{"name": "c"}, {"name": "b"}, {"name": "a"}],
            "env": [{"name": "c"}],
        }
        merged = strategic_merge_patch(document, patch)
        self.assertEqual([each["name"] for each in merged["env"]], ["c", "b", "a"])

    def test_lists_without_a_key_are_replaced(self) -> None:
        merged = strategic_merge_patch(
            {"args": ["a"], "rules": [{"x": 1}]}, {"args": ["b"], "rules": [{"y": 1}]}
        )
        self.assertEqual(merged, {"args": ["b"], "rules": [{"y": 1}]})

    def test_sets(self) -> None:
        merged = strategic_merge_patch({"finalizers": ["a", "b"]}, {"finalizers": ["b", "c"]})
        self.assertEqual(merged, {"finalizers": ["a", "b", "c"]})
        patch = {"$deleteFromPrimitiveList/finalizers": ["a"]}
        self.assertEqual(strategic_merge_patch({"finalizers": ["a", "b"]}, patch), {"finalizers": ["b"]})

    def test_directives(self) -> None:
        document = {"strategy": {"type": "Rolling", "rolling": {"max": 1}}, "volumes": [{"name": "a"}]}
        patch = {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}
        self.assertEqual(strategic_merge_patch(document, patch)["strategy"], {"type": "Recreate"})
        replaced = strategic_merge_patch(document, {"strategy": {"$patch": "replace", "x": 1}})
        self.assertEqual(replaced["strategy"], {"x": 1})
        volumes = [{"$patch": "replace"}, {"name": "b"}]
        self.assertEqual(strategic_merge_patch(document, {"volumes": volumes})["volumes"], [{"name": "b"}])

    def test_item_without_its_key(self) -> None:
        patch = {"containers": [{"name": "a"}, {"image": "x"}]}
        self.assertRaises(PatchError, strategic_merge_patch, {"containers": [{"name": "a"}]}, patch)
