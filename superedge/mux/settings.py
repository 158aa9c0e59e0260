"""Limits and timeouts of a session."""

from __future__ import annotations

from dataclasses import dataclass

INITIAL_WINDOW = 256 * 1024
"""Initial window of a stream in each direction, bytes; fixed by the wire format."""


@dataclass(frozen=True, slots=True)
class MuxSettings:
    """Sizes in bytes, times in seconds."""

    max_window: int = 64 * 1024 * 1024
    """Largest receive window of a stream."""
    session_buffer: int = 64 * 1024 * 1024
    """Sum to which the receive windows of one session may grow.

    While more than this is unsent, each stream's producer is paused as soon as TIGHT_WINDOW bytes wait.
    """
    max_streams: int = 4096
    """Streams that the peer may have open; one more is reset."""
    peer_streams: int | None = None
    """Streams that the peer may open over the session's life; None for any number. Further ones are reset."""
    write_quantum: int = 32 * 1024
    """Most bytes of one stream, with the frame header, while another stream waits to be served."""
    stream_buffer: int = 256 * 1024
    """Unsent bytes of one stream at which its producer is paused."""
    ping_interval: float = 10.0
    ping_timeout: float = 20.0
    """Seconds without a received byte, with a ping outstanding, after which the session ends."""
    close_timeout: float = 30.0
    """Seconds that a closing stream waits for the peer's FIN, once everything is sent, before it is reset."""
