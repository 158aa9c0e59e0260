"""`superedge`: the group of all subcommands, each imported when it is called."""

from __future__ import annotations

import importlib
from typing import NamedTuple

import click
from click.shell_completion import get_completion_class

from superedge import __version__
from superedge.cli.errors import reported

_PROGRAM = "superedge"


class _Command(NamedTuple):
    """Where a subcommand is (``module:name``), and its line in the help."""

    place: str
    help: str


_COMMANDS = {
    "cloud": _Command("superedge.cli.run:cloud", "Run the cloud end in the foreground."),
    "edge": _Command("superedge.cli.run:edge", "Run the edge end in the foreground."),
    "check": _Command("superedge.cli.run:check", "Check a configuration and the files it names."),
    "nodes": _Command("superedge.cli.nodes:nodes", "List the nodes of a cloud end."),
    "cache": _Command("superedge.cli.cache:cache", "Look into the cache of a lite-apiserver."),
    "dns": _Command("superedge.cli.dns:dns", "Ask a node's DNS server, or convert a Corefile."),
    "connect": _Command(
        "superedge.cli.connect:connect", "Connect standard input and output to a node's port."
    ),
    "example": _Command("superedge.cli.example:example", "Print an example configuration, unit or manifest."),
    "completion": _Command("superedge.cli.main:completion", "Print the completion script of a shell."),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        known = _COMMANDS.get(cmd_name)
        if known is None:
            return None
        module, _, name = known.place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, known.help) for name, known in _COMMANDS.items()])


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 success, 1 failure, 2 usage (or warnings with --strict), 78 a configuration fault.",
)
@click.version_option(__version__, prog_name=_PROGRAM, message="%(prog)s %(version)s")
def superedge() -> None:
    """One Kubernetes cluster across a cloud and many remote sites."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL.

    For bash: superedge completion bash > /etc/bash_completion.d/superedge
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(superedge, {}, _PROGRAM, "_SUPEREDGE_COMPLETE").source())


def main() -> None:
    """The console script `superedge`."""
    with reported(_PROGRAM):
        superedge(prog_name=_PROGRAM)


if __name__ == "__main__":
    main()
