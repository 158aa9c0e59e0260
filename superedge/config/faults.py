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
_OF_ONE_KEY = re.compile(r"^(?P<key>\w+)(?P<rest>[\w.\[\]]*): (?P<message>.*)$", re.DOTALL)
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
    good = {config.tag_field: table[config.tag_field]} if config.tag_field in table else {}
    for key in table:
        if key not in accepted:
            yield _join(path, key), _unknown(key, accepted)
    required = {}
    for key, field in fields.items():
        if key in table:
            found = list(_of_value(hints[field.name], table[key], _join(path, key), hook))
            yield from found
            if not found:
                good[key] = table[key]
        elif field.required:
            yield _join(path, key), f"is required; expected {expected(hints[field.name])}"
        if field.required:
            required[key] = hints[field.name]
    yield from _TableCheck(kind, good, path, hook, required, whole=len(good) == len(table)).faults()


class _TableCheck:
    """Finds the faults that a struct's ``__post_init__`` finds.

    It stops at the first, so it runs again without each key that had a fault. A required key gets a
    placeholder.
    """

    def __init__(
        self,
        kind: type[msgspec.Struct],
        table: dict[str, Any],
        path: str,
        hook: Hook,
        required: dict[str, Any],
        whole: bool,
    ) -> None:
        """``table`` has keys of the right types only, and is ``whole`` if no other was left out."""
        self._kind = kind
        self._table = dict(table)
        self._path = path
        self._hook = hook
        self._whole = whole
        self._placeholders = {key: _placeholders(hint) for key, hint in required.items()}
        self._replaced: set[str] = set()

    def faults(self) -> Iterator[Fault]:
        for key in self._placeholders:
            if key not in self._table and not self._replace(key):
                return
        while (found := self._first(self._table)) is not None:
            key, where, message = found
            if key not in self._table:
                # Without its faulty keys, what is said of the table as a whole may be wrong.
                if self._whole:
                    yield _join(self._path, where) if where else self._path, message
                return
            if key not in self._replaced:
                for each in self._of_items(key) or [message]:
                    yield _join(self._path, where), each
            if not self._replace(key):
                return

    def _first(self, table: dict[str, Any]) -> tuple[str, str, str] | None:
        """The first fault: the table's key, the path from the table on, and the sentence."""
        try:
            msgspec.convert(table, self._kind, dec_hook=self._hook)
        except msgspec.ValidationError as problem:
            message = _POSITION.sub("", str(problem))
        else:
            return None
        found = _OF_ONE_KEY.match(message)
        if found is None or found["key"] not in self._kind.__struct_fields__:
            return "", "", message
        return found["key"], found["key"] + found["rest"], found["message"]

    def _of_items(self, key: str) -> list[str]:
        """The faults of a list's items, each by itself."""
        items = self._table[key]
        if not isinstance(items, list):
            return []
        found = [self._first(self._table | {key: [item]}) for item in items]
        return list(dict.fromkeys(each[2] for each in found if each is not None and each[0] == key))

    def _replace(self, key: str) -> bool:
        """Take the next placeholder for a required key, and the default for another. Returns whether there is
        one."""
        self._whole = False
        self._replaced.add(key)
        if key not in self._placeholders:
            del self._table[key]
            return True
        try:
            self._table[key] = next(self._placeholders[key])
        except StopIteration:
            return False
        return True


def _placeholders(hint: Any) -> Iterator[Any]:
    """Values of a type, one of which most checks of such a key accept."""
    choice = _alternatives(hint)[0]
    if get_origin(choice) is Literal:
        yield get_args(choice)[0]
    elif get_origin(choice) is list:
        yield from ([each] for each in _placeholders(get_args(choice)[0]))
    elif isinstance(choice, type) and issubclass(choice, msgspec.Struct):
        hints = get_type_hints(choice)
        needed = [field for field in msgspec.structs.fields(choice) if field.required]
        values = zip(*(_placeholders(hints[field.name]) for field in needed), strict=False)
        yield from (dict(zip((field.encode_name for field in needed), each, strict=True)) for each in values)
    elif choice in (str, Path):
        yield from ("127.0.0.1:1", "a")


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
    if isinstance(value, str) and Path in _alternatives(hint):
        return f"{value!r} is not a path; expected {expected(hint)}"
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
