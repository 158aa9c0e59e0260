"""Command line options of both twistd commands."""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.python import usage

from superedge import __version__
from superedge.tap.program import Program


class BaseOptions(usage.Options):
    """Loads the configuration, so that a fault ends the command before anything starts."""

    command = ""
    default_config = ""
    program: Program

    optFlags = [
        [
            "check",
            None,
            "Check the configuration and the files it names, and exit: 0 if they are valid, 78 if the "
            "configuration has a fault, 1 if a file it names cannot be used.",
        ],
        ["strict", None, "Exit with 2 if there are warnings, both with --check and at start."],
        ["connect", None, "With --check, also connect to every server, and exit with 1 if one fails."],
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
        """Override one value: section.key=value. May be repeated."""
        self["set"].append(assignment)

    def opt_version(self) -> None:
        """Display SuperEdge's version and exit."""
        print(f"{self.command} {__version__}")  # noqa: T201
        sys.exit(0)

    def postOptions(self) -> None:
        """Load the configuration, and check it if requested."""
        self.program = Program(self.command, Path(self["config"]).absolute(), self["set"])
        if self["check"]:
            self.program.check(bool(self["strict"]), bool(self["connect"]))
