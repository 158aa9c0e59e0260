"""Loads a TOML file into the typed configuration. Each fault is one sentence with file and key."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from superedge.config.faults import faults
from superedge.errors import ConfigError, ConfigFaults

S = TypeVar("S", bound=msgspec.Struct)

OVERRIDE = "--set"
"""The name that errors use as the source of values from the command line."""


def load_config(kind: type[S], path: Path, overrides: Sequence[str] = ()) -> S:
    """Load ``path`` as ``kind``; ``overrides`` are ``section.key=value``.

    File paths in it are relative to the file's directory; if that is below /dev, as of standard input and
    of a shell's ``<(command)``, to the working directory. Raises ConfigError, or ConfigFaults for several.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as problem:
        raise ConfigError(str(path), "", f"cannot be read: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        raise ConfigError(str(path), "", f"is not TOML: byte {problem.start} is not valid UTF-8") from problem
    except ValueError as problem:
        raise ConfigError(str(path), "", f"is not TOML: {problem}") from problem
    except RecursionError as problem:
        raise ConfigError(str(path), "", "is not TOML: lists or tables nest too deep") from problem
    overridden = [apply_override(tree, override) for override in overrides]
    directory = Path.cwd() if path.is_relative_to("/dev") else path.parent
    return convert(kind, tree, str(path), directory, overridden)


def apply_override(tree: dict[str, Any], override: str) -> str:
    """Set one key of the tree from ``section.key=value``; the value is TOML, or plain text if it is not.

    Returns the path of the key, or of the outermost table that it created. Raises ConfigError.
    """
    key, equals, text = override.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not equals or not all(parts):
        raise ConfigError(OVERRIDE, override, "must have the form section.key=value, such as log.level=debug")
    table, created = tree, len(parts)
    for depth, part in enumerate(parts[:-1], 1):
        if part not in table:
            created = min(created, depth)
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(OVERRIDE, key, f"{part} is a value, not a table")
    table[parts[-1]] = _toml_value(text)
    return ".".join(parts[:created])


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def convert(
    kind: type[S], tree: dict[str, Any], source: str, directory: Path, overridden: Sequence[str] = ()
) -> S:
    """Convert a parsed tree to ``kind``. Raises ConfigError, or ConfigFaults for several.

    ``overridden`` are the keys that overrides set; their errors name `OVERRIDE` as the source.
    """

    def decode(wanted: type, value: Any) -> Any:
        if wanted is Path and isinstance(value, str) and value and "\0" not in value:
            return directory / value
        raise ValueError(f"{wanted.__name__} cannot be read from {type(value).__name__}")

    def error(key: str, message: str) -> ConfigError:
        by_option = any(key == each or key.startswith((f"{each}.", f"{each}[")) for each in overridden)
        return ConfigError(OVERRIDE if by_option else source, key, message)

    try:
        return msgspec.convert(tree, kind, dec_hook=decode)
    except msgspec.ValidationError as problem:
        found = [error(key, message) for key, message in faults(kind, tree, "", decode)]
        raise (found[0] if len(found) == 1 else ConfigFaults(found)) from problem
