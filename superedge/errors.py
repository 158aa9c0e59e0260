"""Errors that a user of SuperEdge reads: each carries one clear sentence."""

from __future__ import annotations

from pathlib import Path


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
