"""Limits and times of a session."""

from __future__ import annotations

from dataclasses import dataclass

INITIAL_WINDOW = 256 * 1024
"""Bytes a new stream may carry each way before credit; fixed by the wire format."""


@dataclass(frozen=True, slots=True)
class MuxSettings:
    """Sizes in bytes, times in seconds."""

    max_window: int = 48 * 1024 * 1024
    """No receive window grows beyond this."""
    session_buffer: int = 64 * 1024 * 1024
    """Receive windows of one session together grow no further than this.

    While more than this is unsent, a stream's producer is paused as soon as a little waits.
    """
    max_streams: int = 4096
    """Streams the peer may have open; one more is reset."""
    peer_streams: int | None = None
    """Streams the peer may open in all, None for any number. A further one is reset; many are a flood."""
    write_quantum: int = 32 * 1024
    """Most bytes of one stream, its frame's header among them, before the next ready one has its turn."""
    stream_buffer: int = 256 * 1024
    """Unsent bytes of one stream at which its producer is paused."""
    ping_interval: float = 10.0
    ping_timeout: float = 20.0
    """Silence, a ping outstanding, after which the session is dead."""
    close_timeout: float = 30.0
    """Seconds that a closing stream, when everything is sent, waits for the peer's FIN before it is reset."""
