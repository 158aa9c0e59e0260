"""Errors whose text is for users, one clear sentence each, and the exit codes of commands."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

EXIT_FAILED = 1
"""A command failed. With a configuration check: a file that the configuration names is unusable."""
EXIT_WARNED = 2
"""There are warnings and ``--strict`` is set."""
EXIT_CONFIG = os.EX_CONFIG
"""The configuration has a fault (78, sysexits.h): a restart does not help."""


class SuperEdgeError(Exception):
    """Base of all errors whose text is for users."""


class ConfigError(SuperEdgeError):
    """An invalid configuration value. The text names the source, the key and what is accepted."""

    def __init__(self, source: str, key: str, message: str) -> None:
        self.source = source
        self.key = key
        self.message = message
        where = f"{source}: {key}" if key else source
        super().__init__(f"{where}: {message}")


class ConfigFaults(SuperEdgeError):
    """Several invalid configuration values; the text has a line for each."""

    def __init__(self, faults: Sequence[ConfigError]) -> None:
        self.faults = faults
        super().__init__("\n".join(map(str, faults)))


class ConfigWarning(NamedTuple):
    """A warning about a configuration that is valid but unlikely to work. ``text`` begins with the key."""

    text: str
    temporary: bool = False
    """Whether it may end without a change to the configuration, for example when a certificate is renewed."""

    def under(self, key: str) -> ConfigWarning:
        """The same warning, prefixed with its key."""
        return self._replace(text=f"{key}: {self.text}")


class IdentityError(SuperEdgeError):
    """An unusable certificate, key or CA file. The text names the file and the reason."""

    def __init__(self, path: Path, message: str) -> None:
        self.path = path
        self.message = message
        super().__init__(f"{path}: {message}")


class StoreLost(SuperEdgeError):
    """A cache store lost its data, for example because its directory was removed."""


class PluginError(SuperEdgeError):
    """A plugin that the configuration names is not installed, or two have the same name."""
