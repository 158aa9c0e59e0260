"""Converts the configured limits to the settings of a connection."""

from __future__ import annotations

from superedge.config.tunnel import LimitsConfig
from superedge.mux.settings import MuxSettings


def mux_settings(limits: LimitsConfig) -> MuxSettings:
    """The settings of each connection of a session."""
    return MuxSettings(
        max_window=limits.window, session_buffer=limits.session_buffer, max_streams=limits.streams
    )
