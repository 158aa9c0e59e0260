"""The C library's heap: freed memory stays for the next use."""

from __future__ import annotations

SPARE = 2 * 1024 * 1024


def keep_freed_memory() -> None:
    """Have glibc keep twice SPARE bytes of freed memory at the end of its heap.

    By default glibc returns what is free beyond 128 KiB to the kernel, and the memory of a few large reads is
    returned and taken back, page by page, again and again. The limit becomes twice the size of the largest
    block that was freed (mallopt(3), M_MMAP_THRESHOLD). This block takes no memory: nothing is written to it.
    """
    bytes(SPARE)
