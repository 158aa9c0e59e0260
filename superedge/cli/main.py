"""`superedge`: the group of all subcommands, which it imports when they are called."""

from __future__ import annotations

import importlib
import signal
from typing import NamedTuple

import click
from click.shell_completion import get_completion_class

from superedge import __version__
from superedge.cli.errors import exit_on_error

_PROGRAM = "superedge"


class _Command(NamedTuple):
    """A subcommand: its ``module:name``, and its line in the help."""

    place: str
    help: str
    serves: bool = False
    """Whether it runs until it is stopped, and takes SIGHUP for a request to reload."""


_COMMANDS = {
    "cloud": _Command("superedge.cli.run:cloud", "Run SuperEdge in the cloud, in the foreground.", True),
    "edge": _Command("superedge.cli.run:edge", "Run SuperEdge on an edge node, in the foreground.", True),
    "check": _Command("superedge.cli.run:check", "Check a configuration and the files it names."),
    "nodes": _Command("superedge.cli.nodes:nodes", "List the nodes that are connected to a cloud end."),
    "health": _Command("superedge.cli.health:health", "Show the health verdicts of nodes, and who voted."),
    "cache": _Command("superedge.cli.cache:cache", "Inspect the cache of a lite-apiserver."),
    "dns": _Command("superedge.cli.dns:dns", "Ask a node's DNS server, or convert a Corefile."),
    "netrestore": _Command(
        "superedge.cli.netrestore:netrestore", "Put a node's network back after a reboot."
    ),
    "ipam": _Command("superedge.cli.ipam:ipam", "Install the IPAM plugin, or show what it has allocated."),
    "connect": _Command(
        "superedge.cli.connect:connect", "Connect standard input and output to a node's port."
    ),
    "example": _Command("superedge.cli.example:example", "Print an example configuration, unit or manifest."),
    "completion": _Command("superedge.cli.main:completion", "Print the completion script for a shell."),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        known = _COMMANDS.get(cmd_name)
        if known is None:
            return None
        if known.serves:
            # A reload must not end a process that has just begun: it reads all files anyway.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        module, _, name = known.place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, known.help) for name, known in _COMMANDS.items()])


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 success, 1 failure, 2 usage or, with --strict, warnings, 78 configuration fault.",
)
@click.version_option(__version__, prog_name=_PROGRAM, message="%(prog)s %(version)s")
def superedge() -> None:
    """One Kubernetes cluster across a cloud and many remote sites."""


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL.

    For bash: superedge completion bash > /etc/bash_completion.d/superedge
    """
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(superedge, {}, _PROGRAM, "_SUPEREDGE_COMPLETE").source())


def main() -> None:
    """The console script `superedge`."""
    with exit_on_error(_PROGRAM):
        superedge(prog_name=_PROGRAM)


if __name__ == "__main__":
    main()
