"""Sends request bodies over HTTP/2 within the server's flow-control windows, streams in turn. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from superedge.web import h2frames as frames
from superedge.web.h2frames import Code, ConnectionFault, StreamFault
from superedge.web.heads import Headers


class SendQueue:
    """The part of one stream's request that has not been sent; ``sent`` once everything has been."""

    __slots__ = ("queue", "queued", "sent", "stream", "trailers", "window")

    def __init__(self, stream: int, window: int, sent: bool) -> None:
        self.stream = stream
        self.window = window
        """Bytes that the server accepts on this stream."""
        self.sent = sent
        self.queue: deque[bytes] = deque()
        self.queued = 0
        """Bytes in ``queue``."""
        self.trailers: Headers | None = None
        """Set once the body is complete; often empty."""


class BodySender:
    """The send windows of a connection and its streams, and the streams that wait for them.

    ``trailers`` encodes the frames of a stream's trailers. ``finished`` is called when a stream has sent
    everything.
    """

    def __init__(
        self, trailers: Callable[[int, Headers], bytes], finished: Callable[[SendQueue], None]
    ) -> None:
        self._trailers = trailers
        self._finished = finished
        self._window = frames.INITIAL_WINDOW
        self._initial_window = frames.INITIAL_WINDOW
        self._waiting: dict[int, SendQueue] = {}
        self.frame_size = frames.FRAME_SIZE
        """Bytes that the server accepts in a frame."""

    def open(self, stream: int, body: bool) -> SendQueue:
        """The queue of a new stream; ``body`` is whether a body follows its head."""
        return SendQueue(stream, self._initial_window, not body)

    def add(self, outgoing: SendQueue, data: bytes) -> None:
        """Add part of the body."""
        if data:
            outgoing.queue.append(data)
            outgoing.queued += len(data)
            self._waiting[outgoing.stream] = outgoing

    def end(self, outgoing: SendQueue, trailers: Headers) -> None:
        """End the body."""
        outgoing.trailers = trailers
        self._waiting[outgoing.stream] = outgoing

    def drop(self, outgoing: SendQueue) -> None:
        """Discard what the stream has not sent."""
        self._waiting.pop(outgoing.stream, None)
        outgoing.queue.clear()
        outgoing.queued = 0

    def fill(self, out: list[bytes]) -> None:
        """Append the frames that the windows allow to ``out``, one of each stream in turn."""
        progress = bool(self._waiting)
        while progress:
            progress = False
            for outgoing in list(self._waiting.values()):
                progress = self._send(outgoing, out) or progress

    def _send(self, outgoing: SendQueue, out: list[bytes]) -> bool:
        size = max(0, min(outgoing.queued, outgoing.window, self._window, self.frame_size))
        if not size and outgoing.queued:
            return False
        data = self._cut(outgoing, size)
        last = not outgoing.queued and outgoing.trailers is not None
        if data or (last and not outgoing.trailers):
            flags = frames.END_STREAM if last and not outgoing.trailers else 0
            out.append(frames.frame(frames.DATA, flags, outgoing.stream, data))
        if last and outgoing.trailers:
            out.append(self._trailers(outgoing.stream, outgoing.trailers))
        if not outgoing.queued:
            del self._waiting[outgoing.stream]
        if last:
            outgoing.sent = True
            self._finished(outgoing)
        return True

    def _cut(self, outgoing: SendQueue, size: int) -> bytes:
        taken, left = [], size
        while left:
            data = outgoing.queue.popleft()
            if len(data) > left:
                outgoing.queue.appendleft(data[left:])
                data = data[:left]
            taken.append(data)
            left -= len(data)
        outgoing.queued -= size
        outgoing.window -= size
        self._window -= size
        return b"".join(taken)

    # -- what the server's frames say

    def credit(self, outgoing: SendQueue | None, size: int) -> None:
        """Enlarge the window of a stream, or of the connection. Raises StreamFault, ConnectionFault."""
        if outgoing is None:
            self._window += size
            if not size or self._window > frames.LARGEST_WINDOW:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, f"a window update of {size} bytes")
        else:
            outgoing.window += size
            if not size or outgoing.window > frames.LARGEST_WINDOW:
                raise StreamFault(Code.FLOW_CONTROL_ERROR, f"a window update of {size} bytes")

    def set_initial_window(self, size: int, streams: list[SendQueue]) -> None:
        """Set the window of new streams; open ones get the difference. Raises ConnectionFault."""
        difference = size - self._initial_window
        self._initial_window = size
        if size > frames.LARGEST_WINDOW:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "a window is too large")
        for outgoing in streams:
            outgoing.window += difference
            if outgoing.window > frames.LARGEST_WINDOW:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "a window is too large")
