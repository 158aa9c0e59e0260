"""Label selectors as predicates over labels. Pure.

Source: Kubernetes "Labels and Selectors".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from superedge.kube.errors import SelectorError

Labels = Mapping[str, str]
LabelPredicate = Callable[[Labels], bool]

_REQUIREMENT = re.compile(
    r"\s*(?:(?P<absent>!)\s*(?P<gone>[\w./-]+)"
    r"|(?P<key>[\w./-]+)\s*(?:(?P<set>in|notin)\s*\((?P<values>[^()]*)\)"
    r"|(?P<operator>==|!=|=)\s*(?P<value>[\w.-]*)|(?P<order>[<>])\s*(?P<bound>-?\d+))?)\s*"
)
MAX_REQUIREMENTS = 256
"""Each is tested on every object: more of them would take seconds in which nothing else is done."""
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")


def parse_label_selector(text: str) -> LabelPredicate | None:
    """A predicate for a ``labelSelector`` parameter, None for an empty one.

    Raises SelectorError, for more than MAX_REQUIREMENTS, too.
    """
    if not text.strip():
        return None
    tests: list[LabelPredicate] = []
    at = 0
    while True:
        match = _REQUIREMENT.match(text, at)
        if match is None or (match.end() < len(text) and text[match.end()] != ","):
            raise SelectorError(f"unable to parse requirement: {text[at:]!r} is not a label requirement")
        if len(tests) == MAX_REQUIREMENTS:
            raise SelectorError(f"labelSelector has more than {MAX_REQUIREMENTS} requirements")
        tests.append(_requirement(match))
        if match.end() == len(text):
            break
        at = match.end() + 1
    return lambda labels: all(test(labels) for test in tests)


def _requirement(match: re.Match[str]) -> LabelPredicate:
    if match["absent"]:
        gone = match["gone"]
        return lambda labels: gone not in labels
    key = match["key"]
    if match["set"]:
        values = {value.strip() for value in match["values"].split(",")}
        if match["set"] == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if match["order"]:
        bound = int(match["bound"])
        if match["order"] == ">":
            return lambda labels: (number := _number(labels.get(key, ""))) is not None and number > bound
        return lambda labels: (number := _number(labels.get(key, ""))) is not None and number < bound
    if match["operator"] is None:
        return lambda labels: key in labels
    value = match["value"]
    if match["operator"] == "!=":
        return lambda labels: labels.get(key) != value
    return lambda labels: labels.get(key) == value


def _number(value: str) -> int | None:
    return int(value) if _INTEGER.fullmatch(value) else None
