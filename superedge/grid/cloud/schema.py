"""Structural schemas of CRDs from msgspec types. Pure.

Source: Kubernetes, "Extend the Kubernetes API with CustomResourceDefinitions", structural schemas.
"""

from __future__ import annotations

from typing import Any

from msgspec import inspect

_SCALARS = {inspect.StrType: "string", inspect.IntType: "integer", inspect.BoolType: "boolean"}


def schema_of(kind: Any) -> dict[str, Any]:
    """The schema of a struct; descriptions and constraints come from ``msgspec.Meta``. Raises TypeError."""
    return _schema(inspect.type_info(kind))


def _schema(info: inspect.Type) -> dict[str, Any]:
    if isinstance(info, inspect.Metadata):
        inner = {} if _is_int_or_string(info.type) else _schema(info.type)
        return {**inner, **(info.extra_json_schema or {})}
    if isinstance(info, inspect.StructType):
        fields = info.fields
        found: dict[str, Any] = {"type": "object"}
        required = [each.encode_name for each in fields if each.required]
        if required:
            found["required"] = required
        found["properties"] = {each.encode_name: _schema(each.type) for each in fields}
        return found
    if isinstance(info, inspect.DictType):
        if isinstance(info.value_type, inspect.AnyType):
            return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        return {"type": "object", "additionalProperties": _schema(info.value_type)}
    if isinstance(info, inspect.ListType):
        return {"type": "array", "items": _schema(info.item_type)}
    if isinstance(info, inspect.UnionType):
        (one,) = (each for each in info.types if not isinstance(each, inspect.NoneType))
        return _schema(one)
    if type(info) not in _SCALARS:
        raise TypeError(f"{type(info).__name__} has no structural schema here")
    return {"type": _SCALARS[type(info)]}


def _is_int_or_string(info: inspect.Type) -> bool:
    return isinstance(info, inspect.UnionType) and {type(each) for each in info.types} == {
        inspect.IntType,
        inspect.StrType,
    }
