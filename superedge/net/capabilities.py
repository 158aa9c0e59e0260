"""Linux capabilities of the calling thread, and of the threads and programs that it starts.

Source: capabilities(7), capset(2), prctl(2).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

NET_ADMIN = 12
ALL = range(41)
_PR_CAPBSET_DROP, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_LOWER = 24, 47, 3
_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Word(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def drop_capabilities(numbers: Iterable[int]) -> None:
    """Give capabilities up for good. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, words = _Header(_VERSION_3, 0), (_Word * 2)()
    if libc.capget(ctypes.byref(header), words):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    for number in numbers:
        # Only CAP_SETPCAP may narrow what programs could get by the bits of their files.
        libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
        libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_LOWER, number, 0, 0)
        word, bit = words[number // 32], 1 << number % 32
        word.effective &= ~bit
        word.permitted &= ~bit
        word.inheritable &= ~bit
    if libc.capset(ctypes.byref(header), words):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
