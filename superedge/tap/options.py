"""Command line of both twistd commands."""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.python import usage

from superedge import __version__
from superedge.tap.program import Program


class BaseOptions(usage.Options):
    """Reads the configuration, so that a fault ends the command before anything is started."""

    command = ""
    default_config = ""
    program: Program

    optFlags = [
        [
            "check",
            None,
            "Check the configuration and the files it names, and exit: 0 when they are good, 78 when the "
            "configuration has a fault, 1 when a file that it names has.",
        ],
        ["strict", None, "Exit with 2 on a warning, with --check and at the start."],
        ["connect", None, "With --check, also try out every server: exit 1 when one fails."],
    ]

    def __init__(self) -> None:
        self["set"] = []
        self["config"] = self.default_config
        super().__init__()

    def opt_config(self, path: str) -> None:
        """The TOML configuration file."""
        self["config"] = path

    opt_c = opt_config

    def opt_set(self, assignment: str) -> None:
        """Override one value, section.key=value; may be given more than once."""
        self["set"].append(assignment)

    def opt_version(self) -> None:
        """Display SuperEdge's version and exit."""
        print(f"{self.command} {__version__}")  # noqa: T201
        sys.exit(0)

    def postOptions(self) -> None:
        """Load the configuration; to check it, also read the files that it names."""
        self.program = Program(self.command, Path(self["config"]).absolute(), self["set"])
        if self["check"]:
            self.program.check(bool(self["strict"]), bool(self["connect"]))
