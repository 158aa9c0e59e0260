"""JSON patch (RFC 6902), JSON merge patch (RFC 7386) and strategic merge patch. Pure.

All functions return a new document and do not change their arguments. Invalid patches raise PatchError.
"""

from __future__ import annotations

import copy
from typing import Any

from superedge.errors import SuperEdgeError

_MISSING = object()


class PatchError(SuperEdgeError):
    """The patch is malformed or cannot be applied to the document."""


# -- JSON patch ----------------------------------------------------------------------------------


def json_patch(document: Any, operations: Any) -> Any:
    """Apply all operations in order, or none."""
    if not isinstance(operations, list):
        raise PatchError("a JSON patch is a list of operations")
    result = copy.deepcopy(document)
    for operation in operations:
        if not isinstance(operation, dict) or not isinstance(operation.get("path"), str):
            raise PatchError("each operation of a JSON patch has op and path")
        result = _operate(result, operation)
    return result


def _operate(document: Any, operation: dict[str, Any]) -> Any:
    name, path = operation.get("op"), _pointer(operation["path"])
    if name in ("add", "replace", "test") and "value" not in operation:
        raise PatchError(f"{name} {operation['path']}: value is missing")
    if name == "add":
        return _add(document, path, copy.deepcopy(operation["value"]))
    if name == "replace":
        _get(document, path)
        return _replace(document, path, copy.deepcopy(operation["value"]))
    if name == "remove":
        return _remove(document, path)
    if name == "test":
        if _get(document, path) != operation["value"]:
            raise PatchError(f"testing value {operation['path']} failed")
        return document
    if name in ("move", "copy"):
        source = _pointer(operation.get("from", ""))
        value = copy.deepcopy(_get(document, source))
        if name == "move":
            if path[: len(source)] == source and path != source:
                raise PatchError("cannot move a value into itself")
            document = _remove(document, source)
        return _add(document, path, value)
    raise PatchError(f"unexpected kind of operation: {name}")


def _pointer(text: str) -> list[str]:
    if not text:
        return []
    if not text.startswith("/"):
        raise PatchError(f"{text!r} is not a JSON pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in text[1:].split("/")]


def _index(items: list[Any], token: str, past_end: bool) -> int:
    if not token.isdigit() or (len(token) > 1 and token[0] == "0"):
        raise PatchError(f"{token!r} is not a list index")
    index = int(token)
    if index >= len(items) + past_end:
        raise PatchError(f"index {index} is beyond the list's end")
    return index


def _get(document: Any, path: list[str]) -> Any:
    for token in path:
        if isinstance(document, list):
            document = document[_index(document, token, False)]
        elif isinstance(document, dict) and token in document:
            document = document[token]
        else:
            raise PatchError(f"/{'/'.join(path)} does not exist")
    return document


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent, token = _get(document, path[:-1]), path[-1]
    if isinstance(parent, list):
        parent.insert(len(parent) if token == "-" else _index(parent, token, True), value)
    elif isinstance(parent, dict):
        parent[token] = value
    else:
        raise PatchError(f"/{'/'.join(path)} is not in an object or a list")
    return document


def _replace(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _get(document, path[:-1])
    parent[_index(parent, path[-1], False) if isinstance(parent, list) else path[-1]] = value
    return document


def _remove(document: Any, path: list[str]) -> Any:
    _get(document, path)
    if not path:
        raise PatchError("the whole document cannot be removed")
    parent = _get(document, path[:-1])
    del parent[_index(parent, path[-1], False) if isinstance(parent, list) else path[-1]]
    return document


# -- merge patch ---------------------------------------------------------------------------------


def merge_patch(document: Any, patch: Any) -> Any:
    """Objects merge, null deletes, everything else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


# -- strategic merge patch -----------------------------------------------------------------------

_MERGE_KEYS: dict[str, tuple[str, ...]] = {
    "addresses": ("type",),
    "conditions": ("type",),
    "containers": ("name",),
    "env": ("name",),
    "ephemeralContainers": ("name",),
    "hostAliases": ("ip",),
    "imagePullSecrets": ("name",),
    "initContainers": ("name",),
    "ownerReferences": ("uid",),
    "podIPs": ("ip",),
    "resourceClaims": ("name",),
    "secrets": ("name",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "volumeDevices": ("devicePath",),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
    "webhooks": ("name",),
}
_SETS = frozenset({"finalizers"})


def merge_keys(field: str, items: list[Any]) -> tuple[str, ...]:
    """The keys that identify an item of the built-in list ``field``; empty for an atomic list.

    The fields of their items distinguish ports: a container's have containerPort, a service's have port.
    """
    first = items[0] if items else None
    if not isinstance(first, dict):
        return ()
    if field == "ports":
        if "containerPort" in first:
            return ("containerPort", "protocol")
        return ("port", "protocol") if "port" in first else ()
    keys = _MERGE_KEYS.get(field, ())
    return keys if keys and keys[0] in first else ()


def is_set(field: str) -> bool:
    """Whether the list ``field`` of plain values is merged as a set."""
    return field in _SETS


def strategic_merge_patch(document: Any, patch: Any) -> Any:
    """A merge patch whose well-known lists merge by key; ``$patch``, ``$retainKeys`` and
    ``$deleteFromPrimitiveList`` are supported; ``$setElementOrder`` orders merged lists.
    """
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    directive = patch.get("$patch")
    if directive == "replace":
        return {key: copy.deepcopy(value) for key, value in patch.items() if key != "$patch"}
    if directive == "delete":
        return {}
    result = dict(document) if isinstance(document, dict) else {}
    retained = patch.get("$retainKeys")
    if retained is not None:
        result = {key: value for key, value in result.items() if key in retained}
    for key, value in patch.items():
        if key.startswith("$"):
            _directive(result, key, value)
        elif value is None:
            result.pop(key, None)
        elif isinstance(value, list):
            result[key] = _merge_list(key, result.get(key), value, patch.get(f"$setElementOrder/{key}"))
        else:
            result[key] = strategic_merge_patch(result.get(key), value)
    return result


def _directive(result: dict[str, Any], key: str, value: Any) -> None:
    name, _, field = key.partition("/")
    if name == "$deleteFromPrimitiveList" and isinstance(result.get(field), list):
        result[field] = [item for item in result[field] if item not in value]


def _merge_list(field: str, current: Any, patch: list[Any], order: list[Any] | None) -> list[Any]:
    current = current if isinstance(current, list) else []
    if is_set(field):
        return [*current, *(item for item in patch if item not in current)]
    keys = merge_keys(field, [item for item in patch if _directive_of(item) is None] or current)
    if not keys:
        return copy.deepcopy(patch)
    key = keys[0]
    result = [] if any(_directive_of(item) == "replace" for item in patch) else list(current)
    for item in patch:
        kind = _directive_of(item)
        if kind == "replace":
            continue
        if not isinstance(item, dict) or key not in item:
            raise PatchError(f"map: {item} does not contain declared merge key: {key}")
        at = next((index for index, old in enumerate(result) if old.get(key) == item[key]), None)
        if kind == "delete":
            if at is not None:
                del result[at]
        elif at is None:
            result.append(copy.deepcopy(item))
        else:
            result[at] = strategic_merge_patch(result[at], item)
    return _ordered(result, key, order) if order else result


def _directive_of(item: Any) -> str | None:
    return item.get("$patch") if isinstance(item, dict) else None


def _ordered(items: list[Any], key: str, order: list[Any]) -> list[Any]:
    wanted = [item.get(key, _MISSING) if isinstance(item, dict) else item for item in order]
    place = {value: index for index, value in enumerate(wanted)}
    return sorted(items, key=lambda item: place.get(item[key], len(place)))
