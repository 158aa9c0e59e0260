"""Generates the configuration reference from the configuration's types.

``python -m superedge.config.reference`` prints it as Markdown; `describe` returns the same as data. A key's
text is the ``#:`` comment above its field, a table's text is the docstring of its struct.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from superedge.config.root import Config

_FIELD = re.compile(r"^    (\w+):")
_NAMES = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    Path: "path",
    Any: "anything",
}

REQUIRED = object()
"""The ``default`` of a required key."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key: ``type`` in words, ``default`` as in the struct or REQUIRED, ``text`` in one line."""

    name: str
    type: str
    default: Any
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """One table: ``header`` as in a file; ``tag`` is the (key, value) that selects it, if any."""

    header: str
    tag: tuple[str, str] | None
    text: str
    keys: tuple[Key, ...]


def describe(kind: type[msgspec.Struct] = Config) -> Iterator[Section]:
    """All tables of a configuration, outermost first."""
    return _sections(kind, "", "{}")


def _sections(kind: type[msgspec.Struct], path: str, header: str) -> Iterator[Section]:
    fields = msgspec.structs.fields(kind)
    texts = _comments(kind)
    tables = {field.name: _tables(field.type) for field in fields}
    keys = tuple(
        Key(field.encode_name, type_name(field.type), _default(field), texts.get(field.name, ""))
        for field in fields
        if not tables[field.name]
    )
    config = kind.__struct_config__
    tag = (str(config.tag_field), str(config.tag)) if config.tag is not None else None
    if path:
        yield Section(header.format(path), tag, _prose(inspect.getdoc(kind) or ""), keys)
    for field in fields:
        below = f"{path}.{field.encode_name}" if path else field.encode_name
        for inner, form in tables[field.name]:
            yield from _sections(inner, below + (".NAME" if form == "{}.NAME" else ""), _HEADERS[form])
        if not path and not tables[field.name]:
            yield Section(f"[{below}.NAME]", None, texts.get(field.name, ""), ())


_HEADERS = {"{}": "[{}]", "[{}]": "[[{}]]", "{}.NAME": "[{}]"}


def _tables(hint: Any) -> list[tuple[type[msgspec.Struct], str]]:
    """The structs in a field, each with the form of its header: table, array of tables, or tables by name."""
    origin, arguments = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return [(hint, "{}")]
    if origin in (Union, UnionType):
        return [table for choice in arguments for table in _tables(choice)]
    if origin in (list, tuple):
        return [(inner, "[{}]") for inner, _ in _tables(arguments[0])]
    if origin is dict:
        return [(inner, "{}.NAME") for inner, _ in _tables(arguments[1])]
    return []


def _comments(kind: type[msgspec.Struct]) -> dict[str, str]:
    """The ``#:`` comments of the fields of a struct and its bases."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not issubclass(base, msgspec.Struct) or base is msgspec.Struct:
            continue
        comment: list[str] = []
        for line in inspect.getsourcelines(base)[0]:
            if line.lstrip().startswith("#:"):
                comment.append(line.lstrip()[2:].strip())
                continue
            if (match := _FIELD.match(line)) and comment:
                found[match[1]] = " ".join(comment)
            comment = []
    return found


def _prose(docstring: str) -> str:
    """A docstring as one line of Markdown."""
    return " ".join(docstring.split()).replace("``", "`")


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default is not msgspec.NODEFAULT:
        return field.default
    return REQUIRED if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def type_name(hint: Any) -> str:
    """The name of a type in the reference: ``list of path``, ``"text" or "json"``."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(json.dumps(choice) for choice in arguments)
    if origin in (Union, UnionType):
        return " or ".join(type_name(choice) for choice in arguments if choice is not NoneType)
    if origin in (list, tuple):
        return f"list of {type_name(arguments[0])}"
    if origin is dict:
        return f"table of {type_name(arguments[1])}"
    return _NAMES.get(hint, getattr(hint, "__name__", str(hint)))


def default_text(key: Key) -> str:
    """A key's default as in a file, or "required" or "not set"."""
    if key.default is REQUIRED:
        return "required"
    if key.default is None:
        return "not set"
    return f"`{json.dumps(key.default, default=str)}`"


def markdown(kind: type[msgspec.Struct] = Config) -> str:
    """The whole page."""
    lines = [
        "# Configuration",
        "",
        "`superedge cloud --config FILE` and `superedge edge --config FILE` read the same TOML",
        "tables; a component runs when its table is present. Unknown keys are errors. File paths are",
        "relative to the configuration file. `--set section.key=value` overrides one value. `superedge check",
        "FILE` reports all faults in the file without starting anything.",
        "",
        "Sizes are bytes and times are seconds. This page is generated from the types in",
        "`superedge/config` by `make docs`.",
    ]
    for section in describe(kind):
        chosen = f" with `{section.tag[0]} = {json.dumps(section.tag[1])}`" if section.tag else ""
        lines += ["", f"## `{section.header}`{chosen}", "", section.text]
        if section.keys:
            lines += ["", "| key | type | default | |", "|---|---|---|---|"]
            lines += [_row(key) for key in section.keys]
    return "\n".join(lines) + "\n"


def _row(key: Key) -> str:
    cells = [f"`{key.name}`", key.type, default_text(key), key.text]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    sys.stdout.write(markdown())
