"""What a session knows of each of its streams, tells their owners, and counts. Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from superedge.mux.settings import INITIAL_WINDOW
from superedge.mux.windows import Allowance, ReceiveWindow


class StreamEvents(Protocol):
    """What a stream's owner is told."""

    def data_received(self, data: bytes) -> None:
        """Bytes in order; call ``Session.consumed`` when they are out of memory."""

    def fin_received(self) -> None:
        """The peer sends no more."""

    def was_reset(self, reason: str) -> None:
        """The stream is gone; nothing more happens to it."""

    def drained(self) -> None:
        """Unsent bytes fell below the mark at which writing was to stop."""

    def finished(self) -> None:
        """Both FINs have passed; the stream is gone."""


@dataclass(slots=True)
class Stats:
    """Counters of one session; bytes are those of streams, without frames."""

    bytes_in: int = 0
    bytes_out: int = 0
    streams_opened: int = 0
    streams_accepted: int = 0
    streams_refused: int = 0
    window_stalls: int = 0
    resets: dict[str, int] = field(default_factory=dict)

    def count_reset(self, reason: str) -> None:
        """Count one reset: ``local``, ``peer`` or ``session``."""
        self.resets[reason] = self.resets.get(reason, 0) + 1


class Stream:
    """One stream's state. ``events`` is set by whoever opens or accepts it, before anything happens."""

    __slots__ = (
        "events",
        "fin_queued",
        "fin_received",
        "fin_sent",
        "flags",
        "gone",
        "id",
        "moved",
        "pending",
        "queued",
        "receive",
        "send_window",
        "unsent",
    )

    events: StreamEvents

    def __init__(self, id: int, flags: int, allowance: Allowance) -> None:
        self.id = id
        self.flags = flags
        """SYN or ACK, to go out with the next frame."""
        self.receive = ReceiveWindow(allowance)
        self.send_window = INITIAL_WINDOW
        self.pending: deque[bytes | memoryview] = deque()
        self.unsent = 0
        self.moved = 0
        """Bytes both ways, for whoever wants to know whether it is idle."""
        self.queued = False
        self.fin_queued = self.fin_sent = self.fin_received = self.gone = False
