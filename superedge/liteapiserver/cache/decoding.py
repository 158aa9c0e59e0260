"""Decoders for the Content-Encoding of recorded bodies. Pure."""

from __future__ import annotations

import zlib

from superedge.kube.errors import DecodeError

_GZIP_WINDOW = 31


class IdentityDecoder:
    """No content encoding."""

    def feed(self, data: bytes) -> bytes:
        """The same bytes."""
        return data

    def end(self) -> None:
        """End the body, which is always complete."""


class GzipDecoder:
    """gzip of any number of members, one after the other (RFC 1952 section 2.2).

    Since Kubernetes 1.37 the API server ends a member at every flush of a WatchList.
    """

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_WINDOW)

    def feed(self, data: bytes) -> bytes:
        """Decode as much as possible. Raises DecodeError."""
        out = []
        try:
            while data:
                if self._member.eof:
                    self._member = zlib.decompressobj(_GZIP_WINDOW)
                out.append(self._member.decompress(data))
                data = self._member.unused_data
        except zlib.error as problem:
            raise DecodeError(f"not gzip: {problem}") from problem
        return out[0] if len(out) == 1 else b"".join(out)

    def end(self) -> None:
        """End the body. Raises DecodeError when the last member is incomplete, or there is none."""
        if not self._member.eof:
            raise DecodeError("the gzip body is cut short")


Decoder = IdentityDecoder | GzipDecoder
_IDENTITY = IdentityDecoder()


def decoder_for(encoding: bytes) -> Decoder | None:
    """The decoder of a Content-Encoding; None for an unsupported one."""
    if not encoding:
        return _IDENTITY
    name = encoding.strip().lower()
    if name == b"identity":
        return _IDENTITY
    return GzipDecoder() if name in (b"gzip", b"x-gzip") else None
