"""`superedge cloud`, `superedge edge`, `superedge check`: run or check a configuration file."""

from __future__ import annotations

from pathlib import Path

import click

from superedge.tap.command import run_in_foreground
from superedge.tap.program import Program

_STDIN = Path("/dev/stdin")

_set = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Override one value of the file. May be repeated.",
)
_strict = click.option("--strict", is_flag=True, help="Exit with 2 if there are warnings.")


def _runner(end: str, where: str) -> click.Command:
    default = Path(f"/etc/superedge/{end}.toml")

    @click.command(end, help=f"Run SuperEdge {where} in the foreground, and log to standard output.")
    @click.option(
        "--config",
        "-c",
        type=click.Path(path_type=Path, readable=False),
        default=default,
        show_default=True,
        help="TOML configuration file.",
    )
    @_set
    @_strict
    def run(config: Path, overrides: tuple[str, ...], strict: bool) -> None:
        run_in_foreground(Program(f"superedge-{end}", config.absolute(), overrides), strict)

    return run


cloud = _runner("cloud", "in the cloud")
edge = _runner("edge", "on an edge node")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, readable=False))
@_set
@_strict
@click.option("--connect", is_flag=True, help="Also connect to every server that it names.")
def check(file: Path, overrides: tuple[str, ...], strict: bool, connect: bool) -> None:
    """Check the configuration FILE, or - for standard input, and the files that it names.

    Prints each fault as FILE: KEY: what is wrong; what is accepted. Exits with 0 if there is none, with 78 if
    the file has a fault, with 1 if a certificate, key or kubeconfig that it names cannot be used or, with
    --connect, a server does not answer.
    """
    path = _STDIN if file == Path("-") else file.absolute()
    Program("superedge", path, overrides).check(strict, connect)
