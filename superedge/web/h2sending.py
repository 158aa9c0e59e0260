"""Request bodies on an HTTP/2 connection: they leave as the server gives credit, streams in turn. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from superedge.web import h2frames as frames
from superedge.web.h2frames import Code, ConnectionFault, StreamFault
from superedge.web.heads import Headers


class Outgoing:
    """What one stream has to send; ``sent`` once that is all."""

    __slots__ = ("fin", "queue", "queued", "sent", "stream", "window")

    def __init__(self, stream: int, window: int, sent: bool) -> None:
        self.stream = stream
        self.window = window
        """Bytes that the server takes on this stream."""
        self.sent = sent
        self.queue: deque[bytes] = deque()
        self.queued = 0
        """Bytes that wait for credit."""
        self.fin: Headers | None = None
        """The trailers, once the body is complete."""


class Sending:
    """The credit of a connection and of its streams, and who waits for it.

    ``trailers`` makes the frames of a stream's trailers, ``finished`` is told of a stream that sent all.
    """

    def __init__(
        self, trailers: Callable[[int, Headers], bytes], finished: Callable[[Outgoing], None]
    ) -> None:
        self._trailers = trailers
        self._finished = finished
        self._window = frames.INITIAL_WINDOW
        self._first_window = frames.INITIAL_WINDOW
        self._waiting: dict[int, Outgoing] = {}
        self.frame_size = frames.FRAME_SIZE
        """Bytes that the server takes in a frame."""

    def open(self, stream: int, body: bool) -> Outgoing:
        """A new stream; ``body`` says that something follows its head."""
        return Outgoing(stream, self._first_window, not body)

    def add(self, outgoing: Outgoing, data: bytes) -> None:
        """A piece of the body."""
        if data:
            outgoing.queue.append(data)
            outgoing.queued += len(data)
            self._waiting[outgoing.stream] = outgoing

    def end(self, outgoing: Outgoing, trailers: Headers) -> None:
        """The body is complete."""
        outgoing.fin = trailers
        self._waiting[outgoing.stream] = outgoing

    def drop(self, outgoing: Outgoing) -> None:
        """The stream is over."""
        self._waiting.pop(outgoing.stream, None)
        outgoing.queue.clear()
        outgoing.queued = 0

    def fill(self, out: list[bytes]) -> None:
        """Add the frames that may leave now: one of each stream in turn, as long as there is credit."""
        progress = bool(self._waiting)
        while progress:
            progress = False
            for outgoing in list(self._waiting.values()):
                progress = self._send(outgoing, out) or progress

    def _send(self, outgoing: Outgoing, out: list[bytes]) -> bool:
        size = max(0, min(outgoing.queued, outgoing.window, self._window, self.frame_size))
        if not size and outgoing.queued:
            return False
        data = self._cut(outgoing, size)
        last = not outgoing.queued and outgoing.fin is not None
        if data or (last and not outgoing.fin):
            flags = frames.END_STREAM if last and not outgoing.fin else 0
            out.append(frames.frame(frames.DATA, flags, outgoing.stream, data))
        if last and outgoing.fin:
            out.append(self._trailers(outgoing.stream, outgoing.fin))
        if not outgoing.queued:
            del self._waiting[outgoing.stream]
        if last:
            outgoing.sent = True
            self._finished(outgoing)
        return True

    def _cut(self, outgoing: Outgoing, size: int) -> bytes:
        taken, left = [], size
        while left:
            piece = outgoing.queue.popleft()
            if len(piece) > left:
                outgoing.queue.appendleft(piece[left:])
                piece = piece[:left]
            taken.append(piece)
            left -= len(piece)
        outgoing.queued -= size
        outgoing.window -= size
        self._window -= size
        return b"".join(taken)

    # -- told by the server

    def credit(self, outgoing: Outgoing | None, size: int) -> None:
        """Credit for a stream, or for the connection. Raises StreamFault, ConnectionFault."""
        if outgoing is None:
            self._window += size
            if not size or self._window > frames.LARGEST_WINDOW:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, f"credit of {size} bytes")
        else:
            outgoing.window += size
            if not size or outgoing.window > frames.LARGEST_WINDOW:
                raise StreamFault(Code.FLOW_CONTROL_ERROR, f"credit of {size} bytes")

    def first_window(self, size: int, streams: list[Outgoing]) -> None:
        """The credit that a stream begins with; those that are open get the difference."""
        difference = size - self._first_window
        self._first_window = size
        if size > frames.LARGEST_WINDOW:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "a window that is too large")
        for outgoing in streams:
            outgoing.window += difference
            if outgoing.window > frames.LARGEST_WINDOW:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "a window that is too large")
