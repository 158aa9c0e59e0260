"""Queues of bytes that keep the chunks in which they came. Pure."""

from __future__ import annotations

from collections import deque
from typing import Any

SMALL_CHUNK = 1024
"""Bytes up to which queued chunks are joined: each chunk costs more memory than it holds."""


def join_small(waiting: deque[Any], data: bytes) -> None:
    """Append ``data``, or join it to the last chunk when both are small."""
    if waiting and len(data) < SMALL_CHUNK and len(waiting[-1]) + len(data) <= SMALL_CHUNK:
        waiting[-1] = bytes(waiting[-1]) + data
    else:
        waiting.append(data)


def take(pending: deque[bytes | memoryview], limit: int, out: list[bytes | memoryview]) -> int:
    """Move up to ``limit`` bytes from ``pending`` to ``out``. Return the number of bytes moved."""
    size = 0
    while pending and size < limit:
        chunk = pending[0]
        room = limit - size
        if len(chunk) <= room:
            out.append(pending.popleft())
            size += len(chunk)
        else:
            view = memoryview(chunk)
            out.append(view[:room])
            pending[0] = view[room:]
            size += room
    return size
