"""What a session has to send, and in which order. Pure.

Sending is fair as in fq_codel (RFC 8290): sparse streams, which had nothing to send a moment ago, go before
bulk streams, which always have more and are served in turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from superedge.mux.chunks import join_small, take
from superedge.mux.frames import DATA, FIN, HEADER_SIZE, WINDOW_UPDATE, header
from superedge.mux.settings import MuxSettings
from superedge.mux.state import Stats, Stream
from superedge.mux.windows import TIGHT_WINDOW

MAX_SPARSE_RUN = 256 * 1024
"""Most bytes of sparse streams before a bulk stream is served."""
MIN_FRAME = 8 * 1024
"""The last frame of a write is shortened to fit, but to no less than this."""


class Outgoing:
    """Control frames, and the streams that have something to send."""

    def __init__(self, settings: MuxSettings, stats: Stats, finished: Callable[[Stream], None]) -> None:
        """``finished`` is called with a stream whose FIN is sent after the peer's came."""
        self._settings = settings
        self._stats = stats
        self._finished = finished
        self.control: list[bytes] = []
        """Frames that go before all data."""
        self.unsent = 0
        """Queued bytes of all streams."""
        self._sparse: deque[Stream] = deque()
        self._bulk: deque[Stream] = deque()
        self._sparse_run = 0
        """Bytes of sparse streams that were sent while a bulk stream waited."""

    @property
    def waits(self) -> bool:
        """Whether there is something to send."""
        return bool(self.control or self._sparse or self._bulk)

    def enqueue(self, stream: Stream) -> None:
        """Serve a stream that has a frame to send."""
        if not stream.queued:
            stream.queued = True
            self._sparse.append(stream)

    def send(self, stream: Stream, data: bytes) -> bool:
        """Queue bytes. Return False when the stream's producer should pause."""
        size = len(data)
        join_small(stream.pending, data)
        stream.unsent += size
        stream.transferred += size
        self.unsent += size
        if not stream.queued:
            if stream.send_window:
                self.enqueue(stream)
            elif stream.unsent == size:
                self._stats.window_stalls += 1  # the bytes before used the whole credit
        settings = self._settings
        enough = settings.stream_buffer if self.unsent < settings.session_buffer else TIGHT_WINDOW
        return stream.unsent < enough

    def drop(self, stream: Stream) -> None:
        """Send nothing more of a stream that is closed."""
        stream.pending.clear()
        self.unsent -= stream.unsent
        stream.unsent = 0

    def pull(self, limit: int) -> list[bytes | memoryview]:
        """Frames to send, ``limit`` bytes at most; slightly more if ``limit`` is less than MIN_FRAME.

        Control frames come first, then sparse streams, then bulk streams in turn.
        """
        out: list[bytes | memoryview] = []
        out.extend(self.control)
        self.control.clear()
        size, sparse, ready = HEADER_SIZE * len(out), self._sparse, self._bulk
        quantum = self._settings.write_quantum - HEADER_SIZE
        while (sparse or ready) and size < limit:
            room = limit - size - HEADER_SIZE
            if room < MIN_FRAME:
                if size:
                    break
                room = MIN_FRAME
            sparse_next = sparse and (self._sparse_run < MAX_SPARSE_RUN or not ready)
            stream = (sparse if sparse_next else ready).popleft()
            stream.queued = False
            bulk_waits = bool(ready)
            if bulk_waits or sparse:
                room = min(room, quantum)
            taken = 0 if stream.closed else self._pull_stream(stream, out, room)
            self._sparse_run = self._sparse_run + taken if sparse_next and bulk_waits else 0
            self._stats.bytes_out += taken
            size += HEADER_SIZE + taken
        return out

    def _pull_stream(self, stream: Stream, out: list[bytes | memoryview], room: int) -> int:
        quantum = min(stream.send_window, room)
        size = 0
        if stream.unsent and quantum:
            place = len(out)
            out.append(b"")
            size = take(stream.pending, quantum, out)
            out[place] = header(DATA, stream.flags, stream.id, size)
            stream.flags = 0
            stream.send_window -= size
            settings = self._settings
            was_full = stream.unsent >= settings.stream_buffer
            stream.unsent -= size
            self.unsent -= size
            if stream.unsent and not stream.send_window:
                self._stats.window_stalls += 1
            if not stream.unsent or (
                was_full and stream.unsent < settings.stream_buffer and self.unsent < settings.session_buffer
            ):
                stream.events.drained()
                if stream.closed:  # drained() reset it
                    return size
        if not stream.unsent and stream.fin_queued and not stream.fin_sent:
            stream.fin_sent = True
            # FIN has its own frame: Go's yamux may report the end before a data frame's payload.
            out.append(header(WINDOW_UPDATE, stream.flags | FIN, stream.id, 0))
            stream.flags = 0
            if stream.fin_received:
                self._finished(stream)
        elif stream.flags:
            out.append(header(WINDOW_UPDATE, stream.flags, stream.id, 0))
            stream.flags = 0
        if stream.unsent and stream.send_window:
            stream.queued = True
            self._bulk.append(stream)
        return size
