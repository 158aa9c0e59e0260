"""The state of a stream, the events that its owner gets, and a session's counters. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from superedge.mux.settings import INITIAL_WINDOW
from superedge.mux.windows import Allowance, ReceiveWindow


class StreamEvents(Protocol):
    """The events of a stream, which its owner handles."""

    def data_received(self, data: bytes) -> None:
        """Bytes in order. Call ``Session.consumed`` once they have left memory."""

    def fin_received(self) -> None:
        """The peer sends no more."""

    def was_reset(self, reason: str) -> None:
        """The stream was reset; no event follows."""

    def drained(self) -> None:
        """The unsent bytes fell below the limit at which writing had to pause."""

    def finished(self) -> None:
        """Both FINs have passed; no event follows."""


@dataclass(slots=True)
class Stats:
    """Counters of one session. Bytes are stream data, without frame headers."""

    bytes_in: int = 0
    bytes_out: int = 0
    streams_opened: int = 0
    streams_accepted: int = 0
    streams_refused: int = 0
    window_stalls: int = 0
    resets: dict[str, int] = field(default_factory=dict)

    def count_reset(self, reason: str) -> None:
        """Count one reset; ``reason`` is ``local``, ``peer`` or ``session``."""
        self.resets[reason] = self.resets.get(reason, 0) + 1


class Stream:
    """The state of one stream. Its owner sets ``events`` as soon as the stream is opened or accepted."""

    __slots__ = (
        "acknowledged",
        "closed",
        "events",
        "fin_queued",
        "fin_received",
        "fin_sent",
        "flags",
        "id",
        "pending",
        "queued",
        "receive",
        "send_window",
        "transferred",
        "unsent",
    )

    events: StreamEvents

    def __init__(self, id: int, flags: int, allowance: Allowance) -> None:
        self.id = id
        self.flags = flags
        """SYN or ACK, to be sent with the next frame."""
        self.receive = ReceiveWindow(allowance)
        self.send_window = INITIAL_WINDOW
        self.pending: deque[bytes | memoryview] = deque()
        self.unsent = 0
        self.transferred = 0
        """Bytes sent and received; an idle timeout compares it."""
        self.acknowledged = False
        """Whether the peer has acknowledged it on a window update frame."""
        self.queued = False
        self.fin_queued = self.fin_sent = self.fin_received = self.closed = False
