"""Server-side apply: field ownership, conflicts, and removal of fields that a manager no longer sets. Pure.

A field set is a set of paths; a path is a tuple of `fieldsV1` steps: ``f:NAME`` for a field,
``k:{...}`` for an item of a keyed list, ``v:VALUE`` for a value of a set. Lists whose keys are unknown are
owned as a whole. What is keyed and what is a set says the schema of a custom resource; built-in types, whose
``schema`` is None, have well-known fields.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from superedge.testing import patch
from superedge.testing.schemas import Schema, schema_of
from superedge.testing.status import apply_conflict

Path = tuple[str, ...]
Fields = dict[Path, Any]

_UNOWNED = frozenset(
    {
        ("f:apiVersion",),
        ("f:kind",),
        *(
            ("f:metadata", f"f:{name}")
            for name in (
                "name",
                "namespace",
                "uid",
                "resourceVersion",
                "generation",
                "creationTimestamp",
                "deletionTimestamp",
                "deletionGracePeriodSeconds",
                "managedFields",
                "generateName",
            )
        ),
    }
)
_ITEM = "."


def fields_of(item: Any, schema: Schema | None) -> Fields:
    """The fields of an object that can be owned, with their values."""
    found: Fields = {}
    _collect(item, (), "", schema, found)
    return {
        path: value for path, value in found.items() if path[:2] not in _UNOWNED and path[:1] not in _UNOWNED
    }


def _collect(value: Any, path: Path, field: str, schema: Schema | None, found: Fields) -> None:
    if isinstance(value, dict) and value and not _is_atomic(schema):
        for name, child in value.items():
            _collect(child, (*path, f"f:{name}"), name, _child(schema, name, not path), found)
    elif isinstance(value, list) and value and _is_set(field, schema):
        for child in value:
            found[(*path, f"v:{json.dumps(child)}")] = child
    elif isinstance(value, list) and (keys := _keys(field, value, schema)):
        for child in value:
            step = (*path, _item_step(child, keys))
            found[(*step, _ITEM)] = True
            _collect(child, step, "", _items(schema), found)
    else:
        found[path] = value


def _child(schema: Schema | None, name: str, root: bool) -> Schema | None:
    """The schema of a field. An object's metadata are of a built-in type in custom resources, too."""
    if schema is None or (root and name == "metadata"):
        return None
    return schema_of(schema, name) or {}


def _items(schema: Schema | None) -> Schema | None:
    return None if schema is None else schema.get("items") or {}


def _is_atomic(schema: Schema | None) -> bool:
    return schema is not None and schema.get("x-kubernetes-map-type") == "atomic"


def _is_set(field: str, schema: Schema | None) -> bool:
    return patch.is_set(field) if schema is None else schema.get("x-kubernetes-list-type") == "set"


def _keys(field: str, items: list[Any], schema: Schema | None) -> tuple[str, ...]:
    if schema is None:
        return patch.merge_keys(field, items)
    return tuple(schema.get("x-kubernetes-list-map-keys") or ()) if items else ()


def _item_step(item: dict[str, Any], keys: tuple[str, ...]) -> str:
    identity = {key: item[key] for key in keys if key in item}
    if "protocol" in keys:
        identity.setdefault("protocol", "TCP")
    return "k:" + json.dumps(identity, separators=(",", ":"), sort_keys=True)


def encode(paths: set[Path]) -> dict[str, Any]:
    """The `fieldsV1` of a field set."""
    tree: dict[str, Any] = {}
    for path in sorted(paths):
        node = tree
        for step in path:
            node = node.setdefault(step, {})
    return tree


def decode(tree: dict[str, Any]) -> set[Path]:
    """The field set of a `fieldsV1`."""
    return set(_leaves(tree, ()))


def _leaves(tree: dict[str, Any], path: Path) -> Iterator[Path]:
    for step, child in tree.items():
        if child:
            yield from _leaves(child, (*path, step))
        else:
            yield (*path, step)


def _managed(item: dict[str, Any]) -> list[dict[str, Any]]:
    return list(item.get("metadata", {}).get("managedFields") or ())


def _entry(
    manager: str, operation: str, version: str, since: str, paths: set[Path], subresource: str
) -> dict[str, Any]:
    entry = {
        "manager": manager,
        "operation": operation,
        "apiVersion": version,
        "time": since,
        "fieldsType": "FieldsV1",
        "fieldsV1": encode(paths),
    }
    return entry | ({"subresource": subresource} if subresource else {})


def _same(entry: dict[str, Any], manager: str, operation: str, subresource: str) -> bool:
    wanted = (manager, operation, subresource)
    return (entry["manager"], entry["operation"], entry.get("subresource", "")) == wanted


def record_update(
    old: dict[str, Any],
    new: dict[str, Any],
    manager: str,
    since: str,
    version: str,
    subresource: str = "",
    schema: Schema | None = None,
) -> None:
    """Make ``manager`` the owner of the fields that an update changed, in place; removed fields have none."""
    before, after = fields_of(old, schema), fields_of(new, schema)
    changed = {path for path, value in after.items() if path not in before or before[path] != value}
    gone = before.keys() - after.keys()
    if not changed and not gone:
        return
    entries, mine = [], set(changed)
    for entry in _managed(new):
        owned = decode(entry["fieldsV1"]) - gone
        if _same(entry, manager, "Update", subresource):
            mine |= owned
        elif owned - changed:
            entries.append({**entry, "fieldsV1": encode(owned - changed)})
    if mine:
        entries.append(_entry(manager, "Update", version, since, mine, subresource))
    new["metadata"]["managedFields"] = entries


def apply_configuration(
    live: dict[str, Any] | None,
    configuration: dict[str, Any],
    manager: str,
    since: str,
    force: bool,
    schema: Schema | None,
    subresource: str = "",
) -> dict[str, Any]:
    """The object after ``manager`` applied ``configuration``. Raises APIError 409 on conflicts."""
    wanted = fields_of(configuration, schema)
    version = configuration["apiVersion"]
    if live is None:
        result = copy.deepcopy(configuration)
        result["metadata"]["managedFields"] = [
            _entry(manager, "Apply", version, since, set(wanted), subresource)
        ]
        return result
    current = fields_of(live, schema)
    entries, causes, previous, others = [], [], set(), set()
    for entry in _managed(live):
        owned = decode(entry["fieldsV1"])
        if _same(entry, manager, "Apply", subresource):
            previous = owned
            continue
        clash = {path for path in owned if path in wanted and wanted[path] != current.get(path)}
        if clash and not force:
            causes += [_cause(entry, path) for path in sorted(clash)]
        if owned - clash:
            entries.append({**entry, "fieldsV1": encode(owned - clash)})
            others |= owned - clash
    if causes:
        raise apply_conflict(causes)
    result = _merge(live, configuration, "", schema, root=True)
    # Remove an item of a keyed list before its key fields.
    given_up = previous - wanted.keys() - others
    for path in sorted(given_up, key=lambda path: (len(path), path[-1] == _ITEM), reverse=True):
        _drop(result, path)
    entries.append(_entry(manager, "Apply", version, since, set(wanted), subresource))
    unchanged = result == live and previous == set(wanted)
    result = copy.deepcopy(result)
    result["metadata"]["managedFields"] = _managed(live) if unchanged else entries
    return result


def _cause(entry: dict[str, Any], path: Path) -> dict[str, str]:
    field = ""
    for step in path:
        kind, _, name = step.partition(":")
        if kind == "f":
            field += f".{name}"
        elif kind == "k":
            field += (
                "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in json.loads(name).items()) + "]"
            )
        elif kind == "v":
            field += f"[={name}]"
    using = f" using {entry['apiVersion']}" if entry["operation"] == "Update" else ""
    return {
        "reason": "FieldManagerConflict",
        "message": f'conflict with "{entry["manager"]}"{using}',
        "field": field,
    }


def _merge(live: Any, wanted: Any, field: str, schema: Schema | None, root: bool = False) -> Any:
    if isinstance(live, dict) and isinstance(wanted, dict) and not _is_atomic(schema):
        result = dict(live)
        for name, value in wanted.items():
            result[name] = _merge(live.get(name), value, name, _child(schema, name, root))
        return result
    if isinstance(live, list) and isinstance(wanted, list):
        if _is_set(field, schema):
            return [*live, *(item for item in wanted if item not in live)]
        if keys := _keys(field, wanted, schema) or (_keys(field, live, schema) if not wanted else ()):
            places = {_item_step(item, keys): index for index, item in enumerate(live)}
            result_list = list(live)
            for item in wanted:
                at = places.get(_item_step(item, keys))
                if at is None:
                    result_list.append(item)
                else:
                    result_list[at] = _merge(live[at], item, "", _items(schema))
            return result_list
    return copy.deepcopy(wanted)


def _drop(item: Any, path: Path) -> bool:
    """Remove the field at ``path``, copying its containers. Returns whether the item is now empty."""
    step, rest = path[0], path[1:]
    kind, _, name = step.partition(":")
    if kind == "f" and isinstance(item, dict) and name in item:
        if not rest:
            del item[name]
        else:
            item[name] = copy.copy(item[name])
            if _drop(item[name], rest):
                del item[name]
    elif kind == "v" and isinstance(item, list) and json.loads(name) in item:
        item.remove(json.loads(name))
    elif kind == "k" and isinstance(item, list):
        keys = tuple(json.loads(name))
        at = next((index for index, child in enumerate(item) if _item_step(child, keys) == step), None)
        if at is not None:
            if rest == (_ITEM,):
                del item[at]
            else:
                item[at] = dict(item[at])
                _drop(item[at], rest)
    return not item
