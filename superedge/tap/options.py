"""Command line of both twistd commands."""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.python import usage

from superedge import __version__
from superedge.config.load import load_config
from superedge.config.root import Config
from superedge.errors import IdentityError, SuperEdgeError
from superedge.interfaces import IReactor
from superedge.tap.compose import Composition, compose, installed_reactor


class BaseOptions(usage.Options):
    """Reads the configuration, so that a fault ends the command before anything is started."""

    command = ""
    default_config = ""
    config: Config

    optFlags = [
        [
            "check",
            None,
            "Check the configuration and exit: 0 when it is good, perhaps with warnings on standard error, "
            "1 with a sentence when not.",
        ],
        [
            "connect",
            None,
            "Try out every server that the configuration names, a line each, and exit: 0 when all work, "
            "else 1.",
        ],
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
        try:
            self.config = load_config(Config, Path(self["config"]).absolute(), self["set"])
        except SuperEdgeError as problem:
            sys.exit(f"{self.command}: {problem}")
        if self["check"]:
            for concern in self.composed().concerns():
                print(f"{self.command}: warning: {concern}", file=sys.stderr)  # noqa: T201
            print(f"{self.command}: {self['config']} is good")  # noqa: T201
            sys.exit(0 if not self["connect"] else self._connects())

        if self["connect"]:
            sys.exit(self._connects())

    def _connects(self) -> int:
        from superedge.tap.trial import try_out  # noqa: PLC0415

        return 0 if try_out(installed_reactor(), self.config) else 1

    def composed(self, reactor: IReactor | None = None) -> Composition:
        """What the configuration asks for; ends the process with one sentence when it cannot be had."""
        try:
            return compose(self.config, reactor)
        except IdentityError as problem:
            sys.exit(f"{self.command}: {problem}")
        except SuperEdgeError as problem:
            sys.exit(f"{self.command}: {self['config']}: {problem}")
