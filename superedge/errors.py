"""Errors that a user of SuperEdge reads, each with one clear sentence, and the exit codes of commands."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

EXIT_FAILED = 1
"""A command could not do its work; of a configuration: a file that it names cannot be used now."""
EXIT_WARNED = 2
"""There are warnings, and ``--strict`` was given."""
EXIT_CONFIG = os.EX_CONFIG
"""The configuration has a fault (78, sysexits.h): trying again without changing it is of no use."""


class SuperEdgeError(Exception):
    """Base of all errors whose text is meant for a person."""


class ConfigError(SuperEdgeError):
    """A configuration value that cannot be accepted: names the source, the key and what is accepted."""

    def __init__(self, source: str, key: str, message: str) -> None:
        self.source = source
        self.key = key
        self.message = message
        where = f"{source}: {key}" if key else source
        super().__init__(f"{where}: {message}")


class ConfigFaults(SuperEdgeError):
    """Several configuration values that cannot be accepted; the text has a line for each."""

    def __init__(self, faults: Sequence[ConfigError]) -> None:
        self.faults = faults
        super().__init__("\n".join(map(str, faults)))


class ConfigWarning(NamedTuple):
    """A sentence about a configuration that is valid but unlikely to work; it begins with the key or file."""

    text: str
    passing: bool = False
    """Whether it may end without a change to the configuration: a certificate is renewed, a file comes."""

    def under(self, key: str) -> ConfigWarning:
        """The same warning, with the key it concerns in front."""
        return self._replace(text=f"{key}: {self.text}")


class IdentityError(SuperEdgeError):
    """A certificate, key or CA file that cannot be used: names the file and the reason."""

    def __init__(self, path: Path, message: str) -> None:
        self.path = path
        self.message = message
        super().__init__(f"{path}: {message}")


class StoreLost(SuperEdgeError):
    """What a cache store took before is no longer there: its directory was removed, for one."""


class PluginError(SuperEdgeError):
    """A plugin that was named in the configuration but is not installed, or installed twice."""
