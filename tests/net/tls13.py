"""A TLS 1.3 client that sends records which no library sends on demand."""

from __future__ import annotations

import hmac
import select
import socket
import ssl
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from twisted.internet.defer import Deferred

_HASH, _SIZE = "sha384", 48
DATA, HANDSHAKE = 23, 22
KEY_UPDATE = 24


def _expand(secret: bytes, label: str, size: int) -> bytes:
    """HKDF-Expand-Label of RFC 8446 section 7.1, with no context and no more than one block."""
    name = b"tls13 " + label.encode()
    info = struct.pack(">HB", size, len(name)) + name + b"\0"
    return hmac.digest(secret, info + b"\1", _HASH)[:size]


class RecordClient:
    """Shakes hands by the module ssl, then seals records of its own."""

    def __init__(self, context: ssl.SSLContext, directory: Path, turn: Callable[[], Deferred[None]]) -> None:
        self._keys = directory / "keys"
        context.keylog_filename = str(self._keys)
        self._context = context
        self._turn = turn
        self.socket = socket.socket()
        # Otherwise the kernel holds a record back for 40 ms, until the one before it is acknowledged.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    async def connect(self, address: Any) -> None:
        """Connect and shake hands."""
        self.socket.connect((address.host, address.port))
        self.socket.setblocking(False)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self._context.wrap_bio(incoming, outgoing, server_hostname="localhost")
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.socket.send(outgoing.read())
                while not select.select([self.socket], [], [], 0)[0]:
                    await self._turn()
                incoming.write(self.socket.recv(65536))
        self._last_flight = outgoing.read()
        cipher = tls.cipher()
        assert cipher is not None and cipher[0] == "TLS_AES_256_GCM_SHA384"
        lines = [line.split() for line in self._keys.read_text().splitlines()]
        (secret,) = (line[2] for line in lines if line[0] == "CLIENT_TRAFFIC_SECRET_0")
        self._use(bytes.fromhex(secret))

    def _use(self, secret: bytes) -> None:
        self._secret = secret
        self._aead = AESGCM(_expand(secret, "key", 32))
        self._iv = int.from_bytes(_expand(secret, "iv", 12))
        self._number = 0

    def seal(self, kind: int, content: bytes) -> bytes:
        """The next record."""
        inner = content + bytes([kind])
        head = struct.pack(">BHH", 23, 0x0303, len(inner) + 16)
        nonce = (self._iv ^ self._number).to_bytes(12)
        self._number += 1
        return head + self._aead.encrypt(nonce, inner, head)

    def key_update(self, answer: bool) -> bytes:
        """A record that changes the keys, and asks the peer to change its own if ``answer``."""
        record = self.seal(HANDSHAKE, bytes([KEY_UPDATE, 0, 0, 1, answer]))
        self._use(_expand(self._secret, "traffic upd", _SIZE))
        return record

    async def send(self, data: bytes) -> None:
        """Send all, with what is left of the handshake before it; a peer that has gone is no failure."""
        data, self._last_flight = self._last_flight + data, b""
        while data:
            try:
                data = data[self.socket.send(data) :]
            except BlockingIOError:
                pass
            except OSError:
                return
            await self._turn()
