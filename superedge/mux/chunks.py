"""Bytes that wait, in the pieces in which they came. Pure."""

from __future__ import annotations

from collections import deque
from typing import Any

SMALL_PIECE = 1024
"""Pieces are joined up to this size while they wait, since each costs more memory than it holds."""


def join_small(waiting: deque[Any], data: bytes) -> None:
    """Append, or join to the last piece when both are small."""
    if waiting and len(data) < SMALL_PIECE and len(waiting[-1]) + len(data) <= SMALL_PIECE:
        waiting[-1] = bytes(waiting[-1]) + data
    else:
        waiting.append(data)


def take(pending: deque[bytes | memoryview], limit: int, out: list[bytes | memoryview]) -> int:
    """Move up to ``limit`` bytes from ``pending`` to ``out``; the number moved."""
    size = 0
    while pending and size < limit:
        piece = pending[0]
        room = limit - size
        if len(piece) <= room:
            out.append(pending.popleft())
            size += len(piece)
        else:
            view = memoryview(piece)
            out.append(view[:room])
            pending[0] = view[room:]
            size += room
    return size
