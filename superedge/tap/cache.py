"""`superedge-cache`: looks into the cache of a lite-apiserver, running or stopped, and changes nothing."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from superedge import __version__
from superedge.config.load import load_config
from superedge.config.root import Config
from superedge.errors import ConfigError, SuperEdgeError
from superedge.interfaces import ICacheStorePlugin
from superedge.liteapiserver.contents import HIDDEN, Contents, Filter, Row
from superedge.liteapiserver.stores.tree import file_name
from superedge.plugin import find_plugin

CONFIG = Path("/etc/superedge/edge.toml")
_SHOWN = 100
"""Faults that are listed on a terminal."""
_UNBOUNDED = 100_000
"""Columns of what is no terminal."""


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", type=Path, default=CONFIG, help=f"the edge's configuration ({CONFIG})")
    common.add_argument("--path", type=Path, help="the store's directory, instead of the configuration's")
    common.add_argument("--store", help="the store's kind, with --path; file by default")
    common.add_argument("--output", choices=("table", "json"), default="table")
    chosen = argparse.ArgumentParser(add_help=False)
    chosen.add_argument("--identity", help="whose, a pattern such as cert:system:node:*")
    chosen.add_argument("-n", "--namespace", help="pattern")
    parser = argparse.ArgumentParser("superedge-cache", description=__doc__)
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", parents=[common, chosen], help="what is there")
    listing.add_argument(
        "what",
        nargs="?",
        default="collections",
        choices=("collections", "objects", "views", "documents", "tokens"),
        help="one row for each of these; collections by default",
    )
    listing.add_argument("--resource", help="pattern over resource or resource.group")
    listing.add_argument("--name", help="pattern")
    show = commands.add_parser("show", parents=[common, chosen], help="objects with their bodies")
    show.add_argument("resource", help="resource or resource.group, a pattern")
    show.add_argument("name", nargs="?", help="pattern")
    commands.add_parser("verify", parents=[common], help="read everything; exit 1 when something is damaged")
    export = commands.add_parser("export", parents=[common, chosen], help="write each object to a file")
    export.add_argument("directory", type=Path)
    export.add_argument("--resource", help="pattern over resource or resource.group")
    export.add_argument("--name", help="pattern")
    for command in (show, export):
        command.add_argument("--secrets", action="store_true", help="with what Secrets hold")
    return parser


def _contents(arguments: argparse.Namespace) -> Contents:
    """What is in the store that the arguments name. Raises SuperEdgeError."""
    if arguments.path is not None:
        key, name, path, options = "--store", arguments.store or "file", arguments.path, {}
    elif arguments.store is not None:
        raise ConfigError("--store", "", "needs --path")
    else:
        section = load_config(Config, arguments.config).lite_apiserver
        if section is None:
            raise ConfigError(
                str(arguments.config), "lite_apiserver", "is not there, and so there is no cache"
            )
        key, name = "lite_apiserver.cache.store", section.cache.store
        path, options = section.cache.path, section.cache.options
    try:
        inspection = find_plugin(ICacheStorePlugin, name, key).inspect(str(path), options)
    except OSError as problem:
        raise SuperEdgeError(f"{path}: no cache of the kind {name} can be read: {problem}") from problem
    return Contents(inspection, time.time)


def _filter(arguments: argparse.Namespace) -> Filter:
    return Filter(arguments.identity, arguments.resource, arguments.namespace, arguments.name)


class Printer:
    """Rows as a table for people or as JSON for programs."""

    def __init__(self, output: str, console: Console) -> None:
        self._json = output == "json"
        self._console = console

    def json(self, value: Any) -> None:
        """One JSON value."""
        self._console.out(msgspec.json.format(msgspec.json.encode(value)).decode(), highlight=False)

    def rows(self, rows: Sequence[Row]) -> None:
        """A table, with the columns of its first row."""
        if self._json:
            self.json(rows)
            return
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in rows[0] if rows else ():
            table.add_column(column, justify="right" if isinstance(rows[0][column], int) else "left")
        for row in rows:
            table.add_row(*(_cell(value) for value in row.values()))
        if rows:
            self._console.print(table)
        self.say(_counted(len(rows), "row"))

    def objects(self, rows: Sequence[Row]) -> None:
        """Objects with their bodies."""
        if self._json:
            self.json(rows)
            return
        for row in rows:
            body = row.pop("body", None)
            encoded = row.pop("base64", None)
            self._console.print(Text("  ".join(str(value) for value in row.values() if value), "bold"))
            if encoded is not None:
                self.say(f"protobuf, {len(encoded) * 3 // 4} bytes: --output json has them in base64")
            elif body == HIDDEN:
                self.say("hidden: --secrets shows it")
            else:
                self._console.print_json(msgspec.json.encode(body).decode())
        self.say(_counted(len(rows), "object"))

    def say(self, text: str) -> None:
        """A line for people."""
        if not self._json:
            self._console.print(Text(text, "dim"))


def _counted(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _cell(value: object) -> Text:
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    return Text(str(value))


def _list(contents: Contents, arguments: argparse.Namespace, printer: Printer) -> int:
    tables: dict[str, Callable[[Filter], list[Row]]] = {
        "collections": contents.collections,
        "objects": contents.objects,
        "views": contents.views,
        "documents": contents.documents,
        "tokens": contents.tokens,
    }
    printer.rows(tables[arguments.what](_filter(arguments)))
    return 0


def _show(contents: Contents, arguments: argparse.Namespace, printer: Printer) -> int:
    found = list(contents.bodies(_filter(arguments), arguments.secrets))
    printer.objects(found)
    return 0 if found else 1


def _verify(contents: Contents, arguments: argparse.Namespace, printer: Printer) -> int:
    count = contents.verify()
    if arguments.output == "json":
        printer.json({"records": count, "faults": contents.faults})
    else:
        for fault in contents.faults[:_SHOWN]:
            printer.say(fault)
        if len(contents.faults) > _SHOWN:
            printer.say(f"and {len(contents.faults) - _SHOWN} more: --output json has all")
        printer.say(f"{_counted(count, 'record')}, {_counted(len(contents.faults), 'fault')}")
    return 1 if contents.faults else 0


def _export(contents: Contents, arguments: argparse.Namespace, printer: Printer) -> int:
    count = 0
    for row in contents.bodies(_filter(arguments), arguments.secrets):
        place = (row[part] for part in ("identity", "resource", "version", "form", "namespace"))
        directory = arguments.directory.joinpath(*map(file_name, place))
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = directory / f"{file_name(row['name'])}.json"
        body = row.get("body", row)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "wb") as out:
            out.write(msgspec.json.format(msgspec.json.encode(body)) + b"\n")
        count += 1
    if arguments.output == "json":
        printer.json({"objects": count, "directory": str(arguments.directory)})
    printer.say(f"{_counted(count, 'object')} in {arguments.directory}")
    return 0


_COMMANDS = {"list": _list, "show": _show, "verify": _verify, "export": _export}


def run(arguments: Sequence[str], console: Console) -> int:
    """Carry out one command line; the exit code."""
    parsed = _parser().parse_args(arguments)
    try:
        return _COMMANDS[parsed.command](_contents(parsed), parsed, Printer(parsed.output, console))
    except (SuperEdgeError, OSError) as problem:
        Console(stderr=True).print(
            f"superedge-cache: {problem}", highlight=False, markup=False, soft_wrap=True
        )
        return 1


def main() -> None:
    """The console script."""
    width = None if sys.stdout.isatty() else _UNBOUNDED
    sys.exit(run(sys.argv[1:], Console(width=width)))
