"""Finds what an API server refuses in the parameters of a read. Pure.

Source: apimachinery pkg/apis/meta/internalversion/validation, ValidateListOptions; checked against 1.37.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

_MATCHES = ("", "Exact", "NotOlderThan")
_NUMBERS = ("limit", "timeoutSeconds")
_MATCH = "resourceVersionMatch"
_INITIAL = "sendInitialEvents"


class Refusal(NamedTuple):
    """The status code, message and reason of the API server's Status."""

    code: int
    message: str
    reason: str


def refusal(verb: str, query: Mapping[str, str]) -> Refusal | None:
    """What is wrong with the parameters of a get, list or watch; None when nothing is."""
    for key in _NUMBERS:
        if (value := query.get(key, "")) and not _is_number(value.removeprefix("-")):
            return Refusal(400, f'strconv.ParseInt: parsing "{value}": invalid syntax', "BadRequest")
    problem = "" if verb == "get" else _list_problem(verb == "watch", query)
    if problem:
        return Refusal(422, f'ListOptions.meta.k8s.io "" is invalid: {problem}', "Invalid")
    version = query.get("resourceVersion", "")
    if version and not _is_number(version):
        return Refusal(400, f'resourceVersion: Invalid value: "{version}": it is not a number', "BadRequest")
    return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _list_problem(is_watch: bool, query: Mapping[str, str]) -> str:
    version, match = query.get("resourceVersion", ""), query.get(_MATCH, "")
    if is_watch and _INITIAL in query:
        if match != "NotOlderThan":
            return f"{_MATCH}: Forbidden: {_INITIAL} requires setting {_MATCH} to NotOlderThan"
    elif is_watch and match:
        return f"{_MATCH}: Forbidden: {_MATCH} is forbidden for watch unless {_INITIAL} is provided"
    elif _INITIAL in query:
        return f"{_INITIAL}: Forbidden: {_INITIAL} is forbidden for list"
    elif match not in _MATCHES:
        return f'{_MATCH}: Unsupported value: "{match}": supported values: "Exact", "NotOlderThan", ""'
    elif match and not version:
        return f"{_MATCH}: Forbidden: {_MATCH} is forbidden unless resourceVersion is provided"
    elif match == "Exact" and version == "0":
        return f'{_MATCH}: Forbidden: {_MATCH} "exact" is forbidden for resourceVersion "0"'
    return ""
