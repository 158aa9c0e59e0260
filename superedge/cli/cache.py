"""`superedge cache`: inspects the cache of a lite-apiserver, running or stopped, without changing it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from superedge import __version__
from superedge.cli.errors import exit_on_error
from superedge.cli.output import table_console
from superedge.config.load import load_config
from superedge.config.root import Config
from superedge.errors import ConfigError, SuperEdgeError
from superedge.interfaces import ICacheStorePlugin
from superedge.liteapiserver.inspection import HIDDEN, CacheInspector, Query, Row
from superedge.liteapiserver.stores.tree import file_name
from superedge.plugin import find_plugin

CONFIG = Path("/etc/superedge/edge.toml")
_SHOWN = 100
"""Maximum faults in a table."""

_T = TypeVar("_T", bound=Callable[..., Any])


class _CacheLocation(NamedTuple):
    """The location of the cache from the options."""

    config: Path
    path: Path | None
    store: str | None

    def contents(self) -> CacheInspector:
        """Open the cache. Raises SuperEdgeError."""
        options: dict[str, Any] = {}
        if self.path is not None:
            key, name, path = "--store", self.store or "file", self.path
        elif self.store is not None:
            raise click.UsageError("--store needs the directory of the cache: give PATH or --path")
        else:
            section = load_config(Config, self.config).lite_apiserver
            if section is None:
                raise ConfigError(str(self.config), "lite_apiserver", "is missing: this node has no cache")
            key, name = "lite_apiserver.cache.store", section.cache.store
            path, options = section.cache.path, section.cache.options
        try:
            inspection = find_plugin(ICacheStorePlugin, name, key).inspect(str(path), options)
        except OSError as problem:
            raise SuperEdgeError(
                f"{path}: cannot be read as a cache of the store {name}: {problem}"
            ) from problem
        return CacheInspector(inspection, time.time)


class Printer:
    """Prints rows as a table or as JSON."""

    def __init__(self, output: str, console: Console) -> None:
        self._json = output == "json"
        self._console = console

    def json(self, value: Any) -> None:
        """Print one JSON value."""
        self._console.out(msgspec.json.format(msgspec.json.encode(value)).decode(), highlight=False)

    def rows(self, rows: Sequence[Row]) -> None:
        """Print rows, with the columns of the first."""
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
        """Print objects with their bodies."""
        if self._json:
            self.json(rows)
            return
        for row in rows:
            body = row.pop("body", None)
            encoded = row.pop("base64", None)
            self._console.print(Text("  ".join(str(value) for value in row.values() if value), "bold"))
            if encoded is not None:
                self.say(f"protobuf, {len(encoded) * 3 // 4} bytes: use --output json for base64")
            elif body == HIDDEN:
                self.say("hidden; use --secrets to show it")
            else:
                self._console.print_json(msgspec.json.encode(body).decode())
        self.say(_counted(len(rows), "object"))

    def say(self, text: str) -> None:
        """Print a line unless the output is JSON."""
        if not self._json:
            self._console.print(Text(text, "dim"))


def _counted(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _cell(value: object) -> Text:
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    return Text(str(value))


def _cache_options(command: _T) -> _T:
    """Add the options for the cache's location and for the output."""
    for option in (
        click.option(
            "--output", type=click.Choice(["table", "json"]), default="table", help="Output format."
        ),
        click.option("--store", help="Store of the cache at --path or PATH.  [default: file]"),
        click.option(
            "--path", type=click.Path(path_type=Path), help="Directory of the cache, instead of PATH."
        ),
        click.option(
            "--config",
            type=click.Path(path_type=Path, readable=False),
            default=CONFIG,
            show_default=True,
            help="Configuration of the edge, which locates the cache if no path is given.",
        ),
    ):
        command = option(command)
    return command


def _scope_options(command: _T) -> _T:
    for option in (
        click.option("-n", "--namespace", help="Namespace, or a pattern such as kube-*."),
        click.option("--identity", help="Identity, or a pattern such as cert:system:node:*."),
    ):
        command = option(command)
    return command


def _name_options(command: _T) -> _T:
    for option in (
        click.option("--name", help="Name, or a pattern such as web-*."),
        click.option("--resource", help="Resource, or a pattern such as *.apps; RESOURCE or RESOURCE.GROUP."),
    ):
        command = option(command)
    return command


_secrets = click.option("--secrets", is_flag=True, help="Include the contents of Secrets.")


class _CacheGroup(click.Group):
    """Accepts the cache's directory before the command: ``superedge cache /var/lib/superedge/cache list``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            ctx.obj = Path(args.pop(0))
            args = args or ["list"]
        return super().parse_args(ctx, args)


@click.group(cls=_CacheGroup, subcommand_metavar="[PATH] COMMAND [ARGS]...")
@click.version_option(__version__, message="%(prog)s %(version)s")
def cache() -> None:
    """Inspect the cache of a lite-apiserver, running or stopped, without changing it.

    PATH is the directory of the cache. By default, the configuration of the edge locates it.
    """


def _opened(
    config: Path, path: Path | None, store: str | None, output: str
) -> tuple[CacheInspector, Printer]:
    """Open the cache that the options locate, and create a printer. Raises SuperEdgeError."""
    before: Path | None = click.get_current_context().find_object(Path)
    return _CacheLocation(config, path or before, store).contents(), Printer(output, table_console())


@cache.command("list")
@click.argument(
    "what",
    default="collections",
    type=click.Choice(["collections", "objects", "views", "documents", "tokens"]),
)
@_cache_options
@_scope_options
@_name_options
def _list(
    what: str,
    config: Path,
    path: Path | None,
    store: str | None,
    output: str,
    identity: str | None,
    namespace: str | None,
    resource: str | None,
    name: str | None,
) -> None:
    """List WHAT (by default collections), one per row."""
    contents, printer = _opened(config, path, store, output)
    tables: dict[str, Callable[[Query], list[Row]]] = {
        "collections": contents.collections,
        "objects": contents.objects,
        "views": contents.views,
        "documents": contents.documents,
        "tokens": contents.tokens,
    }
    printer.rows(tables[what](Query(identity, resource, namespace, name)))


@cache.command()
@click.argument("resource")
@click.argument("name", required=False)
@_cache_options
@_scope_options
@_secrets
def show(
    resource: str,
    name: str | None,
    config: Path,
    path: Path | None,
    store: str | None,
    output: str,
    identity: str | None,
    namespace: str | None,
    secrets: bool,
) -> None:
    """Print objects of RESOURCE with their bodies. Exit with 1 if there is none.

    RESOURCE is RESOURCE or RESOURCE.GROUP, or a pattern such as *.apps.
    """
    contents, printer = _opened(config, path, store, output)
    found = list(contents.bodies(Query(identity, resource, namespace, name), secrets))
    printer.objects(found)
    if not found:
        sys.exit(1)


@cache.command()
@_cache_options
def verify(config: Path, path: Path | None, store: str | None, output: str) -> None:
    """Read the whole cache. Exit with 1 if something is damaged."""
    contents, printer = _opened(config, path, store, output)
    count = contents.verify()
    if output == "json":
        printer.json({"records": count, "faults": contents.faults})
    else:
        for fault in contents.faults[:_SHOWN]:
            printer.say(fault)
        if len(contents.faults) > _SHOWN:
            printer.say(f"and {len(contents.faults) - _SHOWN} more; use --output json to list all")
        printer.say(f"{_counted(count, 'record')}, {_counted(len(contents.faults), 'fault')}")
    if contents.faults:
        sys.exit(1)


@cache.command()
@click.argument("directory", type=click.Path(path_type=Path))
@_cache_options
@_scope_options
@_name_options
@_secrets
def export(
    directory: Path,
    config: Path,
    path: Path | None,
    store: str | None,
    output: str,
    identity: str | None,
    namespace: str | None,
    resource: str | None,
    name: str | None,
    secrets: bool,
) -> None:
    """Write each object to a file under DIRECTORY."""
    contents, printer = _opened(config, path, store, output)
    count = 0
    for row in contents.bodies(Query(identity, resource, namespace, name), secrets):
        place = (row[part] for part in ("identity", "resource", "version", "form", "namespace"))
        below = directory.joinpath(*map(file_name, place))
        below.mkdir(mode=0o700, parents=True, exist_ok=True)
        body = row.get("body", row)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        with os.fdopen(os.open(below / f"{file_name(row['name'])}.json", flags, 0o600), "wb") as out:
            out.write(msgspec.json.format(msgspec.json.encode(body)) + b"\n")
        count += 1
    if output == "json":
        printer.json({"objects": count, "directory": str(directory)})
    printer.say(f"{_counted(count, 'object')} in {directory}")


def main() -> None:
    """The console script `superedge-cache`."""
    with exit_on_error("superedge-cache"):
        cache(prog_name="superedge-cache")
