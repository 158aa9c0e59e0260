"""Finds all faults in a parsed configuration file, each with its key and what is accepted.

`msgspec.convert` stops at the first fault. `faults` checks each value separately, so that the user sees all
faults at once, and then runs the ``__post_init__`` of each table's struct.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

Hook = Callable[[type, Any], Any]
"""Converts to types that TOML lacks: msgspec's ``dec_hook``."""
Fault = tuple[str, str]
"""(path of the key, sentence); a path is, for example, ``tunnel_cloud.listeners[0].listen``."""

_POSITION = re.compile(r" - at `[^`]*`$")
_OF_ONE_KEY = re.compile(r"^(?P<field>\w+): (?P<message>.*)$", re.DOTALL)
_EXAMPLES: dict[Any, tuple[str, str]] = {
    str: ("text", '"edge-1"'),
    int: ("a whole number", "10"),
    float: ("a number", "2.5"),
    bool: ("true or false", "true"),
    Path: ("a path", '"/etc/superedge/node.crt"'),
}
_FOUND = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a table",
}


def faults(kind: type[msgspec.Struct], table: dict[str, Any], path: str, hook: Hook) -> Iterator[Fault]:
    """The faults of ``table`` as a struct ``kind``."""
    hints = get_type_hints(kind)
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    config = kind.__struct_config__
    accepted = [config.tag_field, *fields] if config.tag_field else list(fields)
    good = True
    for key in table:
        if key not in accepted:
            good = False
            yield _join(path, key), _unknown(key, accepted)
    for key, field in fields.items():
        if key in table:
            for fault in _of_value(hints[field.name], table[key], _join(path, key), hook):
                good = False
                yield fault
        elif field.required:
            good = False
            yield _join(path, key), f"is required; expected {expected(hints[field.name])}"
    if good:
        yield from _of_table(kind, table, path, hook)


def _of_table(kind: type[msgspec.Struct], table: dict[str, Any], path: str, hook: Hook) -> Iterator[Fault]:
    """The faults that ``__post_init__`` finds.

    It stops at the first, so it runs again without each key that had a fault, if the key has a default.
    """
    table = dict(table)
    optional = {field.encode_name for field in msgspec.structs.fields(kind) if not field.required}
    while True:
        try:
            msgspec.convert(table, kind, dec_hook=hook)
            return
        except msgspec.ValidationError as problem:
            message = _POSITION.sub("", str(problem))
        found = _OF_ONE_KEY.match(message)
        field = found["field"] if found else ""
        if found is None or field not in kind.__struct_fields__:
            yield path, message
            return
        yield _join(path, field), found["message"]
        if field not in table or field not in optional:
            return
        del table[field]


def _of_value(hint: Any, value: Any, path: str, hook: Hook) -> Iterator[Fault]:
    choices = _alternatives(hint)
    structs = [
        choice for choice in choices if isinstance(choice, type) and issubclass(choice, msgspec.Struct)
    ]
    container = next((choice for choice in choices if get_origin(choice) in (list, dict)), None)
    if structs and isinstance(value, dict):
        chosen = _tagged(structs, value)
        if isinstance(chosen, str):
            yield _join(path, structs[0].__struct_config__.tag_field or ""), chosen
        else:
            yield from faults(chosen, value, path, hook)
    elif container is not None and isinstance(value, get_origin(container) or list):
        inner = get_args(container)[-1]
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for at, item in items:
            yield from _of_value(
                inner, item, f"{path}.{at}" if isinstance(value, dict) else f"{path}[{at}]", hook
            )
    else:
        try:
            msgspec.convert(value, hint, dec_hook=hook)
        except msgspec.ValidationError:
            yield path, _wrong(hint, value)


def _tagged(structs: list[type[msgspec.Struct]], table: dict[str, Any]) -> type[msgspec.Struct] | str:
    """The struct that the table's tag selects, or the sentence of a fault."""
    field = structs[0].__struct_config__.tag_field
    if field is None:
        return structs[0]
    kinds = {str(struct.__struct_config__.tag): struct for struct in structs}
    if field not in table:
        return f"is required; expected one of {', '.join(kinds)}"
    found = kinds.get(str(table[field]))
    return found or f"{table[field]!r} is unknown; expected one of {', '.join(kinds)}"


def _unknown(key: str, accepted: list[str]) -> str:
    close = difflib.get_close_matches(key, accepted, 1)
    hint = f", did you mean {close[0]}?" if close else ""
    return f"unknown key{hint}; accepted keys: {', '.join(accepted)}"


def _wrong(hint: Any, value: Any) -> str:
    if isinstance(value, str) and any(get_origin(choice) is Literal for choice in _alternatives(hint)):
        return f"{value!r} is unknown; expected {expected(hint)}"
    return f"is {_FOUND.get(type(value), 'a date')}; expected {expected(hint)}"


def expected(hint: Any) -> str:
    """The values that a type accepts, in words and with an example."""
    return " or ".join(_expected(choice) for choice in _alternatives(hint))


def _expected(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(f'"{choice}"' for choice in get_args(hint))
    if get_origin(hint) is list:
        inner = _alternatives(get_args(hint)[0])[0]
        example = _EXAMPLES.get(inner)
        return f"a list, such as [{example[1]}]" if example else "a list of tables"
    if hint in _EXAMPLES:
        words, example_text = _EXAMPLES[hint]
        return words if hint is bool else f"{words}, such as {example_text}"
    return "a table"


def _alternatives(hint: Any) -> list[Any]:
    """The members of a union without None, or the type itself."""
    if get_origin(hint) in (list, tuple, dict, Literal) or not get_args(hint):
        return [] if hint is NoneType else [hint]
    return [inner for choice in get_args(hint) for inner in _alternatives(choice)]


def _join(path: str, field: str) -> str:
    return f"{path}.{field}" if path else field
