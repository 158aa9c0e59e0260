"""Connecting through an HTTP proxy with the CONNECT method (RFC 9110 section 9.3.6)."""

from __future__ import annotations

import socket
from base64 import b64encode
from pathlib import Path

from twisted.internet import abstract, main
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from superedge.config.addresses import Address, TCPAddress
from superedge.interfaces import IReactor
from superedge.net.endpoints import ClientEndpoint, ContextSource
from superedge.net.errors import ConnectError
from superedge.net.racing import Attempt

MAX_RESPONSE = 16 * 1024


class HTTPProxy:
    """A proxy's address and its ``user:password``, given as text or as the first line of a file."""

    def __init__(self, address: TCPAddress, credentials: str = "", file: Path | None = None) -> None:
        self.address = address
        self._credentials = credentials
        self._file = file

    def request(self, target: Address) -> bytes:
        """The CONNECT request. Raises ConnectError when the credentials file is not usable."""
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        credentials = self.credentials()
        if credentials:
            lines.append(f"Proxy-Authorization: Basic {b64encode(credentials.encode()).decode()}")
        return "\r\n".join([*lines, "", ""]).encode()

    def credentials(self) -> str:
        """The credentials. The file is read at each call. Raises ConnectError when it is not usable."""
        if self._file is None:
            return self._credentials
        try:
            lines = self._file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as problem:
            reason = getattr(problem, "strerror", None) or "it is not UTF-8 text"
            raise ConnectError(
                f"the proxy's credentials file {self._file} cannot be read: {reason}"
            ) from None
        if not lines or ":" not in lines[0]:
            raise ConnectError(f"the first line of {self._file} is not user:password")
        return lines[0]


class ConnectResponseReader:
    """Reads the response to CONNECT. Pure."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> bytes | None:
        """The bytes behind a successful response;

        None while more is needed. Raises ConnectError with the cause.
        """
        self._buffer += data
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end:
            if len(self._buffer) > MAX_RESPONSE:
                raise ConnectError(f"its response has more than {MAX_RESPONSE} bytes of headers")
            return None
        version, _, status = head.split(b"\r\n")[0].partition(b" ")
        if not version.startswith(b"HTTP/1.") or not status[:3].isdigit():
            raise ConnectError("it does not speak HTTP")
        if status[:1] != b"2":
            text = "".join(char if " " <= char < "\x7f" else "?" for char in status.decode("latin-1"))[:200]
            raise ConnectError(f"it answered {text.strip()}")
        return rest


class _ConnectRequest(abstract.FileDescriptor):
    """Sends CONNECT on a socket to the proxy, and waits for the response."""

    def __init__(self, reactor: IReactor, sock: socket.socket, request: bytes) -> None:
        abstract.FileDescriptor.__init__(self, reactor)
        self.done: Deferred[socket.socket] = Deferred(lambda _: self._leave(close=True))
        self._socket = sock
        self._response = ConnectResponseReader()
        self.fileno = sock.fileno  # type: ignore[method-assign]
        self.connected = 1
        self.startReading()
        self.write(request)

    def writeSomeData(self, data: bytes | memoryview) -> int | Exception:
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            return main.CONNECTION_LOST

    def doRead(self) -> None:
        try:
            data = self._socket.recv(MAX_RESPONSE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as problem:
            self._fail(str(problem.strerror or problem))
            return
        if not data:
            self._fail("it closed the connection")
            return
        try:
            rest = self._response.feed(data)
        except ConnectError as problem:
            self._fail(str(problem))
            return
        if rest:
            self._fail("it sent data before the TLS handshake")  # a TLS server does not send first
        elif rest is not None:
            self._leave(close=False)
            self.done.callback(self._socket)

    def connectionLost(self, reason: Failure) -> None:
        self._fail("the connection was lost")

    def _fail(self, reason: str) -> None:
        if self.connected:
            self._leave(close=True)
            self.done.errback(ConnectError(reason))

    def _leave(self, close: bool) -> None:
        self.connected = 0
        self.stopReading()
        self.stopWriting()
        if close:
            self._socket.close()


class ProxiedEndpoint(ClientEndpoint):
    """Connects to ``address`` through a proxy. The proxy resolves the name."""

    def __init__(
        self,
        reactor: IReactor,
        address: TCPAddress,
        proxy: HTTPProxy,
        tls: ContextSource | None = None,
        server_name: str | None = None,
        timeout: float = 10.0,
    ) -> None:
        super().__init__(reactor, address, tls, server_name, timeout)
        self._target = address
        self._proxy = proxy

    async def attempts(self) -> list[Attempt[socket.socket]]:
        """One attempt, through the proxy."""
        return [lambda: Deferred.fromCoroutine(self._through())]

    async def _through(self) -> socket.socket:
        request = self._proxy.request(self._target)
        try:
            sock = await ClientEndpoint(self._reactor, self._proxy.address).connected_socket()
            return await _ConnectRequest(self._reactor, sock, request).done
        except ConnectError as problem:
            raise ConnectError(f"{self._target} through proxy {self._proxy.address}: {problem}") from problem
