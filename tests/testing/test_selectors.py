from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.testing.resources import Registry, Resource
from superedge.testing.selectors import both, field_selector, label_selector, single_name
from superedge.testing.status import APIError

KEYS = st.sampled_from(["app", "example.com/tier", "a-b_c.d"])
VALUES = st.text("abcXYZ019._-", max_size=6)


def resource(plural: str, group: str = "") -> Resource:
    found = Registry().find(group, "v1", plural)
    assert found is not None
    return found


def labelled(labels: dict[str, str] | None) -> dict[str, Any]:
    return {"metadata": {"labels": labels} if labels is not None else {}}


class LabelTests(SynchronousTestCase):
    def matches(self, text: str, labels: dict[str, str] | None) -> bool:
        predicate = label_selector(text)
        assert predicate is not None
        return predicate(labelled(labels))

    def test_numbers(self) -> None:
        for value, wanted in (
            ("6", True),
            ("5", False),
            ("-1", False),
            ("x", False),
            ("", False),
            ("+7", True),
        ):
            self.assertIs(self.matches("n>5", {"n": value}), wanted, value)
        self.assertFalse(self.matches("n > 5", {}))
        self.assertTrue(self.matches("n<-3,n>-9", {"n": "-4"}))
        self.assertFalse(self.matches("n<3", {"n": "3"}))
        with self.assertRaises(APIError):
            self.matches("n>a", {})

    @settings(max_examples=100)
    @given(st.dictionaries(KEYS, VALUES), KEYS, VALUES, VALUES)
    def test_operators(self, labels: dict[str, str], key: str, value: str, other: str) -> None:
        is_value, is_either = labels.get(key) == value, labels.get(key) in (value, other)
        for text, wanted in {
            f"{key}={value}": is_value,
            f"{key} == {value}": is_value,
            f"{key}!={value}": not is_value,
            f"{key} in ({value},{other})": is_either,
            f"{key} notin ( {value} , {other} )": not is_either,
            f"{key}": key in labels,
            f"!{key}": key not in labels,
            f"{key},{key}={value}": is_value,
        }.items():
            self.assertEqual(self.matches(text, labels), wanted, text)

    def test_object_without_labels(self) -> None:
        self.assertTrue(self.matches("!app", None))
        self.assertFalse(self.matches("app", None))

    def test_empty_selects_all(self) -> None:
        self.assertIsNone(label_selector(" "))

    @settings(max_examples=100)
    @given(st.text("ab=!,() in", max_size=12))
    def test_anything_is_a_predicate_or_400(self, text: str) -> None:
        try:
            predicate = label_selector(text)
        except APIError as problem:
            self.assertEqual(problem.code, 400)
        else:
            if predicate is not None:
                self.assertIn(predicate(labelled({"a": "b"})), (True, False))


class FieldTests(SynchronousTestCase):
    def matches(self, text: str, item: dict[str, Any], plural: str = "pods") -> bool:
        predicate = field_selector(resource(plural), text)
        assert predicate is not None
        return predicate(item)

    def test_nested_and_defaults(self) -> None:
        pod = {"metadata": {"name": "x"}, "spec": {"nodeName": "n"}}
        self.assertTrue(self.matches("spec.nodeName=n,metadata.name==x", pod))
        self.assertTrue(self.matches("spec.hostNetwork=false,status.phase!=Running", pod))
        self.assertFalse(self.matches("spec.nodeName!=n", pod))
        self.assertTrue(self.matches("spec.unschedulable=true", {"spec": {"unschedulable": True}}, "nodes"))

    def test_refused(self) -> None:
        for text in ("spec.other=1", "metadata.name", "=x"):
            problem = self.assertRaises(APIError, field_selector, resource("pods"), text)
            self.assertEqual(problem.code, 400)

    def test_single_name(self) -> None:
        self.assertEqual(single_name("spec.nodeName=n,metadata.name=x"), "x")
        self.assertIsNone(single_name("metadata.namespace=x"))

    def test_both(self) -> None:
        def first(item: dict[str, Any]) -> bool:
            return bool(item["first"])

        self.assertIs(both(first, None), first)
        self.assertIs(both(None, first), first)
        joined = both(first, lambda item: bool(item["second"]))
        assert joined is not None
        self.assertFalse(joined({"first": True, "second": False}))
        self.assertTrue(joined({"first": True, "second": True}))
