"""Encryption of stored tokens with Fernet.

The library is imported at the first use, to save memory on nodes whose clients request no tokens.
"""

from __future__ import annotations

import base64
import binascii
import os
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

_KEY_BYTES = 32


def generate_key() -> bytes:
    """A new key: 32 random bytes in base64."""
    return base64.urlsafe_b64encode(os.urandom(_KEY_BYTES))


class UnsealError(Exception):
    """The bytes were not encrypted with this key, or are damaged."""


class Seal:
    """Encrypts and decrypts with one key."""

    def __init__(self, key: bytes) -> None:
        """Raises ValueError for a malformed ``key``."""
        try:
            size = len(base64.urlsafe_b64decode(key))
        except binascii.Error as problem:
            raise ValueError("not base64") from problem
        if size != _KEY_BYTES:
            raise ValueError(f"not {_KEY_BYTES} bytes")
        self._key = key

    @cached_property
    def _fernet(self) -> Fernet:
        from cryptography.fernet import Fernet  # noqa: PLC0415

        return Fernet(self._key)

    def encrypt(self, content: bytes) -> bytes:
        """The encrypted form."""
        return self._fernet.encrypt(content)

    def decrypt(self, sealed: bytes) -> bytes:
        """The content. Raises UnsealError."""
        from cryptography.fernet import InvalidToken  # noqa: PLC0415

        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken as problem:
            raise UnsealError("it was sealed with another key, or is damaged") from problem
