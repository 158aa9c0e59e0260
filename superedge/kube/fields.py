"""Field selectors as predicates over objects. Pure.

Sources: Kubernetes "Field Selectors"; for the fields of each resource, pkg/apis/core/v1/conversion.go; for
their numbers in protobuf, api/core/v1/generated.proto.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from superedge.kube.objects import Codec, FieldPath

_TERM = re.compile(r"\s*(?P<key>[^!=]+?)\s*(?P<operator>==|!=|=)(?P<value>(?:[^\\,=]|\\.)*)")
_NAME = ("metadata.namespace", "metadata.name")


def _paths(**numbers: tuple[int, ...]) -> dict[str, FieldPath]:
    """Field paths by name; two underscores stand for a dot."""
    keys = {key.replace("__", "."): value for key, value in numbers.items()}
    return {
        key: FieldPath(tuple(key.split(".")), value, key in ("spec.hostNetwork", "spec.unschedulable"))
        for key, value in keys.items()
    }


_FIELDS: dict[tuple[str, str], dict[str, FieldPath]] = {
    ("", "pods"): _paths(
        spec__nodeName=(2, 10),
        spec__restartPolicy=(2, 3),
        spec__schedulerName=(2, 19),
        spec__serviceAccountName=(2, 8),
        spec__hostNetwork=(2, 11),
        status__phase=(3, 1),
        status__nominatedNodeName=(3, 11),
    ),
    ("", "nodes"): _paths(spec__unschedulable=(2, 4)),
    ("", "namespaces"): _paths(status__phase=(3, 1)),
    ("", "secrets"): _paths(type=(3,)),
    ("", "events"): _paths(
        involvedObject__kind=(2, 1),
        involvedObject__namespace=(2, 2),
        involvedObject__name=(2, 3),
        involvedObject__uid=(2, 4),
        reason=(3,),
        type=(9,),
    ),
}


class _Term(NamedTuple):
    key: str
    equal: bool
    value: str


class FieldSelector:
    """The terms of a ``fieldSelector``."""

    def __init__(self, names: list[_Term], others: list[tuple[FieldPath, _Term]]) -> None:
        self._names = names
        self._others = others

    @property
    def names_only(self) -> bool:
        """Whether it has only terms on name and namespace, which never change."""
        return not self._others

    def selects_name(self, namespace: str, name: str) -> bool:
        """Whether the terms on name and namespace hold."""
        found = dict(zip(_NAME, (namespace, name), strict=True))
        return all((found[term.key] == term.value) is term.equal for term in self._names)

    def selects(self, codec: Codec, raw: bytes) -> bool:
        """Whether the other terms hold for an object that has all its fields. Raises DecodeError."""
        return all((codec.field(raw, path) == term.value) is term.equal for path, term in self._others)


def parse_field_selector(text: str, group: str, resource: str, custom: bool = False) -> FieldSelector | None:
    """The parsed selector; None when it has a field that is not supported for the resource.

    With ``custom``, each field of a resource whose group has a dot is supported: the ``selectableFields`` of
    a custom resource are named by their JSON paths. Only its API server knows which they are.
    """
    names: list[_Term] = []
    others: list[tuple[FieldPath, _Term]] = []
    at = 0
    while at < len(text):
        match = _TERM.match(text, at)
        if match is None or (match.end() < len(text) and text[match.end()] != ","):
            return None
        key, value = match["key"], re.sub(r"\\(.)", r"\1", match["value"])
        term = _Term(key, match["operator"] != "!=", value.strip())
        path = _FIELDS.get((group, resource), {}).get(key)
        if path is None and custom and "." in group:
            path = FieldPath(tuple(key.split(".")), ())
        if key in _NAME:
            names.append(term)
        elif path is not None:
            others.append((path, term))
        else:
            return None
        at = match.end() + 1
    return FieldSelector(names, others)
