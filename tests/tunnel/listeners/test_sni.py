"""The server name of a ClientHello: real ones, however they are cut, and what is none."""

from __future__ import annotations

import contextlib
import ssl

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.tunnel.listeners.sni import MAX_HELLO, ClientHelloReader, NotTLS


def client_hello(name: str | None, **versions: ssl.TLSVersion) -> bytes:
    """What OpenSSL sends first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    for key, version in versions.items():
        setattr(context, key, version)
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name).do_handshake()
    return out.read()


def records(hello: bytes, size: int) -> bytes:
    """The same handshake message in TLS records of at most ``size`` bytes."""
    body = hello[5:]
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(hello[:3] + len(piece).to_bytes(2, "big") + piece for piece in pieces)


def vector(size: int, content: bytes) -> bytes:
    return len(content).to_bytes(size, "big") + content


def made_hello(extensions: bytes | None, random: bytes = bytes(32)) -> bytes:
    """A ClientHello of our own making."""
    body = b"\x03\x03" + random + vector(1, b"") + vector(2, b"\x13\x01") + vector(1, b"\0")
    if extensions is not None:
        body += vector(2, extensions)
    return b"\x16\x03\x01" + vector(2, b"\x01" + vector(3, body))


def name_extension(*names: tuple[int, bytes]) -> bytes:
    listed = b"".join(bytes([kind]) + vector(2, name) for kind, name in names)
    return b"\0\0" + vector(2, vector(2, listed))


def read(*chunks: bytes) -> str | None:
    reader = ClientHelloReader()
    found = None
    for chunk in chunks:
        found = reader.feed(chunk)
        if found is not None:
            break
    return found


REAL = client_hello("Edge-1.edge.example")


class ClientHelloTests(SynchronousTestCase):
    def test_real_ones(self) -> None:
        self.assertEqual(read(REAL), "edge-1.edge.example")
        old = client_hello("edge-1", maximum_version=ssl.TLSVersion.TLSv1_2)
        self.assertEqual(read(old), "edge-1")
        self.assertEqual(read(client_hello(None)), "")

    def test_an_address_is_no_server_name(self) -> None:
        self.assertEqual(read(client_hello("192.0.2.1")), "")

    def test_byte_by_byte(self) -> None:
        reader = ClientHelloReader()
        for at in range(len(REAL) - 1):
            self.assertIsNone(reader.feed(REAL[at : at + 1]))
        self.assertEqual(reader.feed(REAL[-1:]), "edge-1.edge.example")
        self.assertEqual(reader.received, REAL, "the target gets every byte")

    @given(st.lists(st.integers(0, len(REAL)), max_size=6), st.binary(max_size=20))
    def test_cut_anywhere_with_more_behind_it(self, cuts: list[int], more: bytes) -> None:
        wire = REAL + more
        edges = [0, *sorted(cuts), len(wire)]
        chunks = [wire[begin:end] for begin, end in zip(edges, edges[1:], strict=False)]
        self.assertEqual(read(*chunks), "edge-1.edge.example")

    @given(st.integers(1, 300))
    def test_spread_over_records(self, size: int) -> None:
        self.assertEqual(read(records(REAL, size)), "edge-1.edge.example")
        wire = records(REAL, size)
        self.assertEqual(read(*(wire[at : at + 7] for at in range(0, len(wire), 7))), "edge-1.edge.example")

    def test_without_extensions(self) -> None:
        self.assertEqual(read(made_hello(None)), "")
        self.assertEqual(read(made_hello(b"")), "")

    def test_the_first_host_name_counts(self) -> None:
        extension = name_extension((7, b"other"), (0, b"edge-1"), (0, b"edge-2"))
        self.assertEqual(read(made_hello(b"\0\x17\0\0" + extension)), "edge-1")

    def test_what_is_no_client_hello(self) -> None:
        for wire in (
            b"GET / HTTP/1.1\r\n\r\n",
            b"S",
            b"\x16\x02\x00\x00\x01\x01",
            b"\x16\x03\x01\x00\x00",
            b"\x17\x03\x03\x00\x01x",
            b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
            b"\x16\x03\x01\x00\x04\x01" + (MAX_HELLO + 1).to_bytes(3, "big"),
            b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
            made_hello(name_extension((0, b"\xc3\xa9"))),
            made_hello(b"\0\0\0\x05\0\x09\0\0\x02"),
            made_hello(b"\0\0\xff"),
        ):
            self.assertRaises(NotTLS, read, wire)

    def test_one_that_never_ends(self) -> None:
        reader = ClientHelloReader()
        reader.feed(b"\x16\x03\x01\x00\x05\x01" + MAX_HELLO.to_bytes(3, "big") + b"x")
        record = b"\x16\x03\x01\x00\x01x"

        def go_on() -> None:
            for _ in range(MAX_HELLO):
                reader.feed(record * 100)

        self.assertRaises(NotTLS, go_on)
        self.assertLess(len(reader.received), 3 * MAX_HELLO)

    @given(st.binary(max_size=300))
    def test_any_bytes_are_read_or_refused(self, data: bytes) -> None:
        for wire in (data, made_hello(data), made_hello(b"\0\0" + vector(2, data)), REAL[:100] + data):
            with contextlib.suppress(NotTLS):
                read(wire)

    @given(st.integers(0, len(REAL) - 1), st.integers(0, 255))
    def test_a_damaged_one_is_read_or_refused(self, at: int, value: int) -> None:
        with contextlib.suppress(NotTLS):
            read(REAL[:at] + bytes([value]) + REAL[at + 1 :])
