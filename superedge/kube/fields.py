"""Field selectors as predicates over objects. Pure.

Sources: Kubernetes "Field Selectors"; for the fields of each resource, pkg/apis/core/v1/conversion.go; for
their numbers in protobuf, api/core/v1/generated.proto.
"""

from __future__ import annotations

import re

from superedge.kube.objects import Codec, FieldPath

# Possessive, so that the time to match grows with the length of the text and no faster.
_TERM = re.compile(r"(?P<key>[^!=]++)(?P<operator>==|!=|=)(?P<value>(?:[^\\,=]|\\.)*+)")
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


class _Terms:
    """All terms on one field, however many: they are tested together."""

    def __init__(self) -> None:
        self._equal: set[str] = set()
        self._unequal: set[str] = set()

    def add(self, equal: bool, value: str) -> None:
        (self._equal if equal else self._unequal).add(value)

    def hold(self, value: str) -> bool:
        return value not in self._unequal and (not self._equal or self._equal == {value})


class FieldSelector:
    """The terms of a ``fieldSelector``."""

    def __init__(self, names: dict[str, _Terms], others: dict[FieldPath, _Terms]) -> None:
        self._names = names
        self._others = others

    @property
    def names_only(self) -> bool:
        """Whether it has only terms on name and namespace, which never change."""
        return not self._others

    def selects_name(self, namespace: str, name: str) -> bool:
        """Whether the terms on name and namespace hold."""
        found = dict(zip(_NAME, (namespace, name), strict=True))
        return all(terms.hold(found[key]) for key, terms in self._names.items())

    def selects(self, codec: Codec, raw: bytes) -> bool:
        """Whether the other terms hold for an object that has all its fields. Raises DecodeError."""
        return all(terms.hold(codec.field(raw, path)) for path, terms in self._others.items())


def parse_field_selector(text: str, group: str, resource: str, custom: bool = False) -> FieldSelector | None:
    """The parsed selector; None when it has a field that is not supported for the resource.

    With ``custom``, each field of a resource whose group has a dot is supported: the ``selectableFields`` of
    a custom resource are named by their JSON paths. Only its API server knows which they are.
    """
    names: dict[str, _Terms] = {}
    others: dict[FieldPath, _Terms] = {}
    at = 0
    while at < len(text):
        match = _TERM.match(text, at)
        if match is None or (match.end() < len(text) and text[match.end()] != ","):
            return None
        key, value = match["key"], re.sub(r"\\(.)", r"\1", match["value"])
        path = _FIELDS.get((group, resource), {}).get(key)
        if path is None and custom and "." in group:
            path = FieldPath(tuple(key.split(".")), ())
        if key in _NAME:
            terms = names.setdefault(key, _Terms())
        elif path is not None:
            terms = others.setdefault(path, _Terms())
        else:
            return None
        terms.add(match["operator"] != "!=", value)
        at = match.end() + 1
    return FieldSelector(names, others)
