"""A command with its configuration file: loading, composing and checking it, and the exit codes."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import msgspec

from superedge.config.listening import tables
from superedge.config.load import load_config
from superedge.config.root import Config
from superedge.errors import (
    EXIT_CONFIG,
    EXIT_FAILED,
    EXIT_WARNED,
    ConfigError,
    ConfigWarning,
    IdentityError,
    SuperEdgeError,
)
from superedge.interfaces import IReactor
from superedge.tap.compose import Composition, compose, installed_reactor
from superedge.tap.servercheck import check_servers
from superedge.tls.identity import load_certificates, load_identity

_ENDS = {
    "superedge-cloud": ("tunnel_cloud", "tunnel_dns"),
    "superedge-edge": ("tunnel_edge", "lite_apiserver", "local_dns"),
}


class Program:
    """``command`` begins all messages; ``overrides`` are ``section.key=value``."""

    def __init__(self, command: str, path: Path, overrides: Sequence[str] = ()) -> None:
        """Load the configuration. A fault ends the process."""
        self.command = command
        self.path = path
        try:
            self.config = load_config(Config, path, overrides)
        except SuperEdgeError as problem:
            self._fail([problem])

    def compose(self, reactor: IReactor | None = None) -> Composition:
        """Create the service tree. A fault ends the process."""
        try:
            return compose(self.config, reactor)
        except SuperEdgeError as problem:
            self._fail([self._with_key(problem)])

    def check(self, strict: bool, connect: bool = False) -> NoReturn:
        """Print all faults and warnings, including those of the files that the configuration names, and exit.

        With ``connect``, also connect to every server that it names.
        """
        faults = list(self._file_faults())
        if faults:
            self._fail(faults)
        composition = self.compose()
        found = [*self.warnings(), *composition.warnings()]
        for warning in found:
            self._say(f"warning: {warning.text}")
        if strict:
            self.refuse_warnings(found)
        print(f"{self.command}: {self.path} is valid")  # noqa: T201
        sys.exit(EXIT_FAILED if connect and not check_servers(installed_reactor(), self.config) else 0)

    def warnings(self) -> Iterator[ConfigWarning]:
        """Warnings about a file that was written for the other command."""
        there = {
            command: [key for key in keys if getattr(self.config, key) is not None]
            for command, keys in _ENDS.items()
        }
        own = there.pop(self.command, None)
        for other, keys in there.items():
            if own == [] and keys:
                yield ConfigWarning(
                    f"{', '.join(keys)}: this is a configuration for {other}, but {self.command} runs it"
                )

    def refuse_warnings(self, found: Sequence[ConfigWarning]) -> None:
        """End the process when there is a warning that is not temporary."""
        if any(not warning.temporary for warning in found):
            sys.exit(EXIT_WARNED)

    def _file_faults(self) -> Iterator[SuperEdgeError]:
        for key, table in tables(self.config):
            certificate, secret = getattr(table, "certificate", None), getattr(table, "key", None)
            try:
                if certificate is not None and secret is not None:
                    load_identity(certificate, secret)
            except IdentityError as problem:
                yield self._with_key(problem)
            for field in ("ca", "client_ca"):
                for path in getattr(table, field, ()):
                    try:
                        load_certificates(path)
                    except IdentityError as problem:
                        yield _FileFault(str(self.path), f"{key}.{field}", str(problem))

    def _with_key(self, problem: SuperEdgeError) -> SuperEdgeError:
        """The problem, prefixed with the configuration file and key when it lacks them."""
        if isinstance(problem, IdentityError):
            return _FileFault(str(self.path), _key_of(self.config, problem.path), str(problem))
        if isinstance(problem, ConfigError):
            if problem.source == str(self.path):
                return problem
            if key := _key_of(self.config, Path(problem.source)):  # a kubeconfig
                return _FileFault(str(self.path), key, str(problem))
        return SuperEdgeError(f"{self.path}: {problem}")

    def _fail(self, problems: Sequence[SuperEdgeError]) -> NoReturn:
        for problem in problems:
            for line in str(problem).splitlines():
                self._say(line)
        sys.exit(EXIT_FAILED if all(isinstance(problem, _FileFault) for problem in problems) else EXIT_CONFIG)

    def _say(self, line: str) -> None:
        print(f"{self.command}: {line}", file=sys.stderr)  # noqa: T201


class _FileFault(ConfigError):
    """A file that a key names cannot be used. Unlike a fault in the configuration, a restart may help."""


def _key_of(config: msgspec.Struct, path: Path) -> str:
    """The path of the key with this file as its value, or ''."""
    for key, table in tables(config):
        for field in table.__struct_fields__:
            value = getattr(table, field)
            if path == value or (isinstance(value, list) and path in value):
                return f"{key}.{field}" if key else field
    return ""
