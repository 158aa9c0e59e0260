"""CONNECT requests as kube-apiserver sends them, and what is none."""

from __future__ import annotations

import contextlib
from typing import cast

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.addresses import TCPAddress
from superedge.tunnel.listeners.connect_request import ESTABLISHED, MAX_HEAD, ConnectReader
from superedge.tunnel.listeners.refusals import BadRequest

REQUEST = b"CONNECT edge-1:10250 HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Go-http-client/1.1\r\n\r\n"
TARGET = TCPAddress("edge-1", 10250)


class ConnectReaderTests(SynchronousTestCase):
    def refused(self, data: bytes) -> int:
        return cast(BadRequest, self.assertRaises(BadRequest, ConnectReader().feed, data)).status

    def test_what_kube_apiserver_sends(self) -> None:
        self.assertEqual(ConnectReader().feed(REQUEST), (TARGET, b""))
        self.assertEqual(
            ConnectReader().feed(b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\n\r\n"),
            (TCPAddress("2001:db8::1", 443), b""),
        )
        self.assertEqual(
            ConnectReader().feed(b"CONNECT 10.0.0.5:443 HTTP/1.0\r\n\r\n"), (TCPAddress("10.0.0.5", 443), b"")
        )

    def test_byte_by_byte(self) -> None:
        reader = ConnectReader()
        for at in range(len(REQUEST) - 1):
            self.assertIsNone(reader.feed(REQUEST[at : at + 1]))
        self.assertEqual(reader.feed(REQUEST[-1:]), (TARGET, b""))

    @given(st.lists(st.integers(0, len(REQUEST)), max_size=5), st.binary(max_size=30))
    def test_cut_anywhere_and_what_follows_is_kept(self, cuts: list[int], early: bytes) -> None:
        wire = REQUEST + early
        edges = [0, *sorted(cuts), len(wire)]
        reader = ConnectReader()
        found: tuple[TCPAddress, bytes] | None = None
        rest = b""
        for begin, end in zip(edges, edges[1:], strict=False):
            if found is None:
                found = reader.feed(wire[begin:end])
            else:
                rest += wire[begin:end]
        assert found is not None
        self.assertEqual((found[0], found[1] + rest), (TARGET, early))

    def test_other_methods(self) -> None:
        for method in (b"GET", b"POST", b"connect"):
            self.assertEqual(self.refused(method + b" edge-1:10250 HTTP/1.1\r\n\r\n"), 405)

    def test_malformed(self) -> None:
        for data in (
            b"\r\n\r\n",
            b"CONNECT\r\n\r\n",
            b"CONNECT edge-1:10250\r\n\r\n",
            b"CONNECT  edge-1:10250 HTTP/1.1\r\n\r\n",
            b"CONNECT edge-1:10250 HTTP/2\r\n\r\n",
            b"CONNECT edge-1 HTTP/1.1\r\n\r\n",
            b"CONNECT edge-1:http HTTP/1.1\r\n\r\n",
            b"CONNECT edge-1:65536 HTTP/1.1\r\n\r\n",
            b"CONNECT :10250 HTTP/1.1\r\n\r\n",
            b"CONNECT unix:/run/x.sock HTTP/1.1\r\n\r\n",
            b"CONNECT ed\xffge:10250 HTTP/1.1\r\n\r\n",
            b"CONNECT edge-1:10250 HTTP/1.1\r\nHost\r\n\r\n",
            b"CONNECT edge-1:10250 HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
        ):
            self.assertEqual(self.refused(data), 400, data)

    def test_a_head_that_does_not_end(self) -> None:
        self.assertEqual(self.refused(b"CONNECT edge-1:10250 HTTP/1.1\r\n" + b"x" * MAX_HEAD), 400)

    @given(st.binary(max_size=100))
    def test_any_bytes_are_read_or_refused(self, data: bytes) -> None:
        for wire in (data, b"CONNECT " + data + b"\r\n\r\n", b"CONNECT " + data + b" HTTP/1.1\r\n\r\n"):
            with contextlib.suppress(BadRequest):
                ConnectReader().feed(wire)


class EstablishedTests(SynchronousTestCase):
    def test_success_is_a_status_line_and_a_blank_line(self) -> None:
        self.assertEqual(ESTABLISHED.split(b" ")[1], b"200")
        self.assertEqual(ESTABLISHED.index(b"\r\n\r\n"), len(ESTABLISHED) - 4)
