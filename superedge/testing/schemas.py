"""Structural schemas of custom resources: pruning, defaults, validation. Pure.

Rules in CEL (``x-kubernetes-validations``) and formats are not checked. Source: Kubernetes, "Extend the
Kubernetes API with CustomResourceDefinitions".
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

from superedge.testing.status import Cause

Schema = dict[str, Any]
Path = tuple[str | int, ...]

_ALWAYS = ("apiVersion", "kind", "metadata")
_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float),
}  # fmt: skip


def complete(schema: Schema, item: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A copy of an object without what the schema does not know, with its defaults, and what was unknown."""
    unknown: list[str] = []
    head = {key: item[key] for key in _ALWAYS if key in item}
    rest = {key: value for key, value in item.items() if key not in _ALWAYS}
    return head | _complete(schema, rest, (), unknown), unknown


def _complete(schema: Schema, value: Any, path: Path, unknown: list[str]) -> Any:
    if isinstance(value, list):
        items = schema.get("items") or {}
        return [_complete(items, each, (*path, number), unknown) for number, each in enumerate(value)]
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties") or {}
    keeps = schema.get("x-kubernetes-preserve-unknown-fields")
    found = {}
    for name, child in value.items():
        known = schema_of(schema, name)
        if known is None:
            if keeps or (schema.get("x-kubernetes-embedded-resource") and name in _ALWAYS):
                found[name] = child
            else:
                unknown.append(_text((*path, name)))
        elif child is not None or known.get("nullable"):
            found[name] = _complete(known, child, (*path, name), unknown)
    for name, known in properties.items():
        if name not in found and "default" in known:
            found[name] = _complete(known, copy.deepcopy(known["default"]), (*path, name), unknown)
    return found


def schema_of(schema: Schema, name: str) -> Schema | None:
    """The schema of a field."""
    others = schema.get("additionalProperties")
    if others is True:
        others = {"x-kubernetes-preserve-unknown-fields": True}
    known: Schema | None = (schema.get("properties") or {}).get(name, others or None)
    return known


def problems(schema: Schema, value: Any, path: Path = ()) -> Iterator[Cause]:
    """What of an object the schema refuses."""
    if value is None and schema.get("nullable"):
        return
    kind = schema.get("type")
    if schema.get("x-kubernetes-int-or-string"):
        if isinstance(value, bool) or not isinstance(value, int | str):
            yield _mistyped(path, value, "integer,string")
            return
    elif kind and not _is(kind, value):
        yield _mistyped(path, value, kind)
        return
    if "enum" in schema and value not in schema["enum"]:
        accepted = ", ".join(map(json.dumps, schema["enum"]))
        problem = f"Unsupported value: {json.dumps(value)}: supported values: {accepted}"
        yield _cause("FieldValueNotSupported", path, problem)
    if isinstance(value, dict):
        yield from _of_object(schema, value, path)
    elif isinstance(value, list):
        yield from _sizes(schema, value, "Items", path)
        for number, each in enumerate(value):
            yield from problems(schema.get("items") or {}, each, (*path, number))
    elif isinstance(value, str):
        yield from _sizes(schema, value, "Length", path)
        if (pattern := schema.get("pattern")) and not re.search(pattern, value):
            yield _invalid(path, value, f"should match '{pattern}'")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if value < schema.get("minimum", value):
            yield _invalid(path, value, f"should be greater than or equal to {schema['minimum']}")
        if value > schema.get("maximum", value):
            yield _invalid(path, value, f"should be less than or equal to {schema['maximum']}")


def _of_object(schema: Schema, value: dict[str, Any], path: Path) -> Iterator[Cause]:
    for name in schema.get("required") or ():
        if name not in value:
            yield _cause("FieldValueRequired", (*path, name), "Required value")
    yield from _sizes(schema, value, "Properties", path)
    for name, child in value.items():
        known = schema_of(schema, name)
        if known is not None and not (path == () and name == "metadata"):
            yield from problems(known, child, (*path, name))


def _sizes(schema: Schema, value: Any, what: str, path: Path) -> Iterator[Cause]:
    least, most = schema.get(f"min{what}", 0), schema.get(f"max{what}")
    if len(value) < least:
        unit = "chars long" if what == "Length" else what.lower()
        yield _invalid(path, value, f"should be at least {least} {unit}")
    if most is None or len(value) <= most:
        return
    if what == "Length":
        yield _cause("FieldValueTooLong", path, f"Too long: may not be more than {most} bytes")
        return
    unit = "item" if most == 1 else "items"
    yield _cause("FieldValueTooMany", path, f"Too many: {len(value)}: must have at most {most} {unit}")


def _is(kind: str, value: Any) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _TYPES[kind])


def _type_of(value: Any) -> str:
    return "null" if value is None else next(kind for kind in _TYPES if _is(kind, value))


def _text(path: Path) -> str:
    found = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return found.removeprefix(".")


def _cause(reason: str, path: Path, problem: str) -> Cause:
    return {"reason": reason, "message": problem, "field": _text(path)}


def _invalid(path: Path, value: Any, problem: str, reason: str = "FieldValueInvalid") -> Cause:
    return _cause(reason, path, f"Invalid value: {json.dumps(value)}: {_text(path)} in body {problem}")


def _mistyped(path: Path, value: Any, wanted: str) -> Cause:
    found = _type_of(value)
    return _invalid(path, found, f'must be of type {wanted}: "{found}"', "FieldValueTypeInvalid")
