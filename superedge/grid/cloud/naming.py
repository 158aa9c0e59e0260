"""Names of what grids make. Pure.

A site is the value of a label: up to 63 letters, digits, ``-``, ``_`` and ``.``; a name has fewer.
"""

from __future__ import annotations

import re
from base64 import b32encode
from hashlib import sha256

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_ENCODED = re.compile(r"-x[a-z2-7]{10}$")
_MAX_LABEL = 63


def digest(text: str | bytes) -> str:
    """Ten characters of a hash, of ``a-z2-7``."""
    raw = text.encode() if isinstance(text, str) else text
    return b32encode(sha256(raw).digest()).decode().lower()[:10]


def child_name(grid: str, site: str, limit: int, dots: bool) -> str:
    """The name of a site's workload: ``GRID-SITE`` where that is a name, else a readable part and a hash.

    No two sites of a grid have the same name: what ends like a hashed name is hashed as well. ``limit`` is
    the longest name, ``dots`` whether it may have dots.
    """
    plain = f"{grid}-{site}"
    whole = _LABEL.fullmatch(site) and len(plain) <= limit and not _ENCODED.search(plain)
    if whole and (dots or "." not in grid):
        return plain
    hashed = f"-x{digest(f'{grid}/{site}')}"
    readable = re.sub(r"[^a-z0-9]+", "-", plain.lower())
    return readable[: limit - len(hashed)].strip("-") + hashed


def key_label(key: str) -> str:
    """A label's key as a label's value: ``/`` becomes ``_``, and what is too long ends in a hash."""
    value = key.replace("/", "_")
    return value if len(value) <= _MAX_LABEL else f"{value[: _MAX_LABEL - 11].rstrip('-_.')}-{digest(key)}"
