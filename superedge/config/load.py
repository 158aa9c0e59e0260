"""Reads a TOML file into the typed configuration; every fault is one sentence with file and key."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from superedge.errors import ConfigError

S = TypeVar("S", bound=msgspec.Struct)

_WHERE = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<field>.*)`$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(?P<field>.*)`$")
_OF_ONE_KEY = re.compile(r"^(?P<field>\w+): (?P<message>.*)$", re.DOTALL)


def load_config(kind: type[S], path: Path, overrides: Sequence[str] = ()) -> S:
    """Read ``path`` as ``kind``; ``overrides`` are ``section.key=value``. Raises ConfigError.

    File paths inside are taken relative to the file's own directory.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise ConfigError(str(path), "", f"cannot be read: {problem.strerror}") from problem
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise ConfigError(str(path), "", f"is not TOML: {problem}") from problem
    for override in overrides:
        apply_override(tree, override)
    return convert(kind, tree, str(path), path.parent)


def apply_override(tree: dict[str, Any], override: str) -> None:
    """Set one key of the tree from ``section.key=value``; the value is TOML, or else plain text."""
    key, equals, text = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise ConfigError("--set", override, "must read section.key=value")
    table = tree
    for part in parts[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError("--set", key, f"{part} is a value, not a table")
    table[parts[-1]] = _toml_value(text)


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def convert(kind: type[S], tree: dict[str, Any], source: str, directory: Path) -> S:
    """Turn a parsed tree into ``kind``. Raises ConfigError naming the key's path."""

    def decode(wanted: type, value: Any) -> Any:
        if wanted is Path and isinstance(value, str):
            return directory / value
        raise ValueError(f"Expected `str`, got `{type(value).__name__}`")

    try:
        return msgspec.convert(tree, kind, dec_hook=decode)
    except msgspec.ValidationError as problem:
        raise _explain(kind, tree, source, str(problem)) from problem


def _explain(kind: type[msgspec.Struct], tree: dict[str, Any], source: str, text: str) -> ConfigError:
    match = _WHERE.search(text)
    path = match["path"] if match else ""
    message = text[: match.start()] if match else text
    if unknown := _UNKNOWN.match(message):
        field = unknown["field"]
        accepted = accepted_keys(kind, path, _value_at(tree, path))
        message = "unknown key"
        if close := difflib.get_close_matches(field, accepted, 1):
            message += f", did you mean {close[0]}?"
        if accepted:
            message += f"; accepted are {', '.join(accepted)}"
        return ConfigError(source, _join(path, field), message)
    if missing := _MISSING.match(message):
        return ConfigError(source, _join(path, missing["field"]), "is required")
    said = _OF_ONE_KEY.match(message)
    if said and said["field"] in accepted_keys(kind, path, _value_at(tree, path)):
        return ConfigError(source, _join(path, said["field"]), said["message"])
    if choices := accepted_values(kind, path):
        message += f"; accepted are {', '.join(choices)}"
    return ConfigError(source, path, message[:1].lower() + message[1:] if path else message)


def _join(path: str, field: str) -> str:
    return f"{path}.{field}" if path else field


def accepted_keys(kind: type[msgspec.Struct], path: str, table: Any = None) -> list[str]:
    """The keys of the table at ``path`` (msgspec's form: ``a.b[0].c``), empty where any go.

    Where the table may be of several kinds, only those that go with the kind that ``table`` says.
    """
    keys: list[str] = []
    for found in _types_at(kind, path):
        info = msgspec.inspect.type_info(found)
        if isinstance(info, msgspec.inspect.StructType):
            said = table.get(info.tag_field, info.tag) if isinstance(table, dict) else info.tag
            if said != info.tag:
                continue
            tag = [info.tag_field] if info.tag_field else []
            keys += [key for key in tag + [field.encode_name for field in info.fields] if key not in keys]
    return keys


def accepted_values(kind: type[msgspec.Struct], path: str) -> list[str]:
    """The choices of the value at ``path``, empty where it is no choice."""
    table, _, field = path.rpartition(".")
    if field == "kind":
        kinds = [msgspec.inspect.type_info(found) for found in _types_at(kind, table)]
        return [str(info.tag) for info in kinds if isinstance(info, msgspec.inspect.StructType)]
    return [
        str(choice)
        for found in _types_at(kind, path)
        if get_origin(found) is Literal
        for choice in get_args(found)
    ]


def _steps(path: str) -> list[str]:
    return [step for step in re.split(r"[.\[]", path) if step]


def _value_at(tree: Any, path: str) -> Any:
    """What stands at ``path``, None where that is nothing."""
    for part in _steps(path):
        if isinstance(tree, dict):
            tree = tree.get(part)
        elif isinstance(tree, list) and part[:-1].isdigit() and int(part[:-1]) < len(tree):
            tree = tree[int(part[:-1])]
        else:
            return None
    return tree


def _types_at(kind: type[msgspec.Struct], path: str) -> list[Any]:
    kinds: list[Any] = [kind]
    for part in _steps(path):
        kinds = [inner for outer in kinds for inner in _step(outer, part)]
    return kinds


def _step(kind: Any, part: str) -> list[Any]:
    """Types found one step down: a struct's field, a list's item or a table's value."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        hint = get_type_hints(kind).get(part)
        return [] if hint is None else _alternatives(hint)
    if get_origin(kind) in (list, tuple, dict):
        return _alternatives(get_args(kind)[-1])
    return []


def _alternatives(hint: Any) -> list[Any]:
    if get_origin(hint) in (list, tuple, dict, Literal) or not get_args(hint):
        return [hint]
    return [inner for choice in get_args(hint) for inner in _alternatives(choice)]
