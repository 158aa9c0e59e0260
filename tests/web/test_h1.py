from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.web.errors import MessageError
from superedge.web.h1 import MAX_HEAD, End, RequestReader, Switched, chunk, last_chunk
from superedge.web.heads import (
    HOP_BY_HOP,
    RequestHead,
    ResponseHead,
    request_head,
    response_head,
    split_headers,
)
from superedge.web.responses import ResponseReader


def merged(events: Sequence[object]) -> list[object]:
    """Neighbouring body chunks joined."""
    out: list[object] = []
    for event in events:
        if isinstance(event, bytes) and out and isinstance(out[-1], bytes):
            out[-1] += event
        else:
            out.append(event)
    return out


def requests(data: bytes, size: int) -> list[object]:
    reader = RequestReader()
    return merged([event for at in range(0, len(data), size) for event in reader.feed(data[at : at + size])])


def everywhere(data: bytes) -> Iterator[list[object]]:
    """The events of the requests in ``data``, in two pieces that are cut anywhere."""
    for cut in range(len(data)):
        reader = RequestReader()
        yield merged([*reader.feed(data[:cut]), *reader.feed(data[cut:])])


def responses(data: bytes, size: int, head_only: bool = False) -> list[object]:
    reader = ResponseReader()
    reader.expect(head_only)
    return merged([event for at in range(0, len(data), size) for event in reader.feed(data[at : at + size])])


GET = b"GET /api/v1/pods?limit=5 HTTP/1.1\r\nHost: a\r\nX-Mixed-Case: v\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"PUT /y HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\n\r\n"


class RequestTests(SynchronousTestCase):
    def test_byte_by_byte_and_pipelined(self) -> None:
        data = GET + POST + CHUNKED + GET
        whole = requests(data, len(data))
        self.assertEqual(whole, requests(data, 1))
        self.assertEqual(
            [event.method for event in whole if isinstance(event, RequestHead)],
            [b"GET", b"POST", b"PUT", b"GET"],
        )
        self.assertEqual([event for event in whole if isinstance(event, bytes)], [b"hello", b"abcde"])
        ends = [event for event in whole if isinstance(event, End)]
        self.assertEqual([end.trailers for end in ends], [[], [], [(b"X-Sum", b"1")], []])
        head = whole[0]
        assert isinstance(head, RequestHead)
        self.assertEqual(head.target, b"/api/v1/pods?limit=5")
        self.assertEqual(head.headers, [(b"Host", b"a"), (b"X-Mixed-Case", b"v")])
        self.assertTrue(head.keep_alive)

    def test_upgrade(self) -> None:
        data = b"POST /exec HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n"
        whole = requests(data + b"\x80\x03raw", 4096)
        head = whole[0]
        assert isinstance(head, RequestHead)
        self.assertTrue(head.upgrade)
        self.assertEqual(whole[1:], [End([]), Switched(b"\x80\x03raw")])
        self.assertEqual(requests(data, 1)[1:], [End([]), Switched(b"")])

    def test_utf8_in_a_target_is_encoded(self) -> None:
        line = "GET /caf\u00e9?q=\u65e5\u672c&r=\u00fc HTTP/1.1\r\n".encode()
        accented = line + "Host: a\r\nX: \u00e9\r\n\r\n".encode()
        binary = bytes(range(256)) + b"\r\n\r\n\n\r\n" + bytes([255])
        sized = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(binary) + binary
        chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(binary)
        chunked += binary + b"\r\n0\r\nX-Sum: 1\r\n\r\n"
        data = (
            b"\r\n"
            + accented
            + sized
            + accented
            + chunked
            + accented
            + GET
            + accented
            + b"\r\n"
            + line
            + b"\r\n"
        )
        whole = requests(data, len(data))
        for size in (1, 2, 3, 7, 100):
            self.assertEqual(whole, requests(data, size))
        heads = [event for event in whole if isinstance(event, RequestHead)]
        targets = [head.target for head in heads if head.method == b"GET"]
        encoded = b"/caf%C3%A9?q=%E6%97%A5%E6%9C%AC&r=%C3%BC"
        self.assertEqual(targets, [encoded, encoded, encoded, b"/api/v1/pods?limit=5", encoded, encoded])
        self.assertEqual(
            heads[0].headers, [(b"Host", b"a"), (b"X", "\u00e9".encode())], "a header stays as it is"
        )
        self.assertEqual([event for event in whole if isinstance(event, bytes)], [binary, binary])

    def test_utf8_elsewhere_in_a_request_line_is_refused(self) -> None:
        for line in (
            "G\u00e9T / HTTP/1.1",
            "GET / HTTP/1.\u00e9",
            "GET /\u00e9 x HTTP/1.1",
            "GET\u00a0/ HTTP/1.1",
        ):
            data = line.encode() + b"\r\nHost: a\r\n\r\n"
            for size in (len(data), 1):
                self.assertRaises(MessageError, requests, data, size)
        self.assertRaises(MessageError, requests, "GET / HTTP/1.1\r\nX\u00e9: a\r\n\r\n".encode(), 4096)

    def test_old_clients(self) -> None:
        (head, _) = requests(b"GET / HTTP/1.0\r\n\r\n", 100)
        assert isinstance(head, RequestHead)
        self.assertEqual((head.version, head.keep_alive), ("1.0", False))

    def test_garbage_and_ambiguity(self) -> None:
        for data in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"GARBAGE / HTTP/1.1\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ):
            self.assertRaises(MessageError, requests, data, len(data))
            self.assertRaises(MessageError, requests, data, 1)

    def test_what_another_server_could_take_for_another_message(self) -> None:
        heads = (
            b"Content-Length: 3, 3",
            b"Content-Length: 3\r\nContent-Length: 3",
            b"Content-Length: +3",
            b"Content-Length: 0x3",
            b"Content-Length: 3 4",
            b"Content-Length:",
            b"Content-Length: 18446744073709551619",
            b"Transfer-Encoding: chunked\r\nContent-Length: 3",
            b"Transfer-Encoding: xchunked",
            b"Transfer-Encoding: chunked, identity",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            b"Transfer-Encoding: chunked, chunked",
            b"Transfer-Encoding : chunked",
            b"Transfer-Encoding:\x0bchunked",
            b"Transfer-Encoding:\r\n chunked",
            b"Transfer-Encoding:",
            b"X: a\r\n folded",
            b"X: a\nTransfer-Encoding: chunked",
            b"X: a\rY: b",
            b"X: a\r\r",
            b"X: a\x00b",
            b"XY",
            b": y",
        )
        bodies = (
            b"3\nabc\r\n",
            b"3\r\nabc\n",
            b"3;a\nb\r\nabc\r\n",
            b"3 \r\nabc\r\n",
            b"0x3\r\nabc\r\n",
            b"+3\r\nabc\r\n",
            b"10000000000000003\r\nabc\r\n",
            b"3\r\nabcd\r\n",
            b"2\r\nabc\r\n",
            b"\r\n",
        )
        chunked = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n"
        for data in (
            b"GET / HTTP/1.1\nHost: a\n\n",
            b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
            b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /a\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
            *(b"POST / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\nabc" % head for head in heads),
            *(chunked % body for body in bodies),
        ):
            for size in (len(data), 1):
                with self.assertRaises(MessageError, msg=f"{data!r}") as caught:
                    requests(data + GET, size)
                self.assertEqual(caught.exception.code, 400, data)

    def test_transfer_codings_that_are_not_undone(self) -> None:
        for codings in (b"gzip, chunked", b"identity\r\nTransfer-Encoding: chunked"):
            data = b"POST / HTTP/1.1\r\nTransfer-Encoding: %b\r\n\r\n0\r\n\r\n" % codings
            with self.assertRaises(MessageError) as caught:
                requests(data, len(data))
            self.assertEqual(caught.exception.code, 501)

    def test_a_request_with_a_body_does_not_switch(self) -> None:
        """Else what follows it would be read as a body, when the server does not switch."""
        head = b"POST /exec HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n%b\r\n\r\n"
        for line, body in (
            (b"Content-Length: 3", b"abc"),
            (b"content-length: 003", b"abc"),
            (b"Transfer-Encoding: chunked", b"3\r\nabc\r\n0\r\n\r\n"),
        ):
            for first, *rest in everywhere(head % line + body + GET):
                assert isinstance(first, RequestHead)
                self.assertEqual((first.target, first.upgrade), (b"/exec", False))
                self.assertEqual(rest, [b"abc", End([]), *requests(GET, 4096)])
        self.assertEqual(len(requests(head % b"Content-Length: 0", 4096)), 3)
        self.assertRaises(
            MessageError, requests, b"CONNECT a:1 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 4096
        )

    def test_a_request_that_prefers_http2_does_not_switch(self) -> None:
        lines = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAA\r\n\r\n"
        for first, *rest in everywhere(b"GET / HTTP/1.1\r\n" + lines + GET):
            assert isinstance(first, RequestHead)
            self.assertFalse(first.upgrade)
            self.assertEqual(rest, [End([]), *requests(GET, 4096)])

    def test_what_follows_the_last_request_is_not_read(self) -> None:
        for lines in (b"HTTP/1.1\r\nConnection: close", b"HTTP/1.0"):
            for body in (b"", b"abc"):
                last = b"POST / %b\r\nContent-Length: %d\r\n\r\n%b" % (lines, len(body), body)
                for found in everywhere(last + b"\r\n\xff" + GET):
                    self.assertEqual(found[1:], [*filter(None, [body]), End([])])

    def test_whitespace_around_a_value_is_not_of_it(self) -> None:
        (head, _) = requests(b"GET / HTTP/1.1\r\nHost: \ta b \t \r\nX:  \r\n\r\n", 1)
        assert isinstance(head, RequestHead)
        self.assertEqual(head.headers, [(b"Host", b"a b"), (b"X", b"")])

    def test_chunk_extensions_are_dropped_and_bounded(self) -> None:
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        found = requests(head + b'3;a=b;c="d"\r\nabc\r\n0;e\r\n\r\n', 1)
        self.assertEqual(found[1:], [b"abc", End([])])
        self.assertRaises(MessageError, requests, head + b"3;" + b"a" * (2 * MAX_HEAD), 1000)

    def test_endless_heads(self) -> None:
        for piece in (b"X-Header: value\r\n", b"x" * 1000):
            reader = RequestReader()
            reader.feed(b"GET / HTTP/1.1\r\n")
            with self.assertRaises(MessageError) as caught:
                for _ in range(MAX_HEAD // len(piece) * 4):
                    reader.feed(piece)
            self.assertEqual(caught.exception.code, 431)

    def test_big_body_is_no_big_head(self) -> None:
        body = b"x" * (4 * MAX_HEAD)
        data = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        self.assertEqual(requests(data, 1000)[1], body)

    @settings(max_examples=200)
    @given(st.binary(max_size=300), st.integers(1, 50))
    def test_any_bytes(self, data: bytes, size: int) -> None:
        for prefix in (b"", b"GET / HTTP/1.1\r\n", POST):
            with contextlib.suppress(MessageError):
                requests(prefix + data, size)

    @settings(max_examples=60)
    @given(st.lists(st.binary(max_size=40), max_size=5), st.integers(1, 30))
    def test_chunks_written_here_are_read_here(self, chunks: list[bytes], size: int) -> None:
        head = request_head(b"PUT", b"/z", [(b"Transfer-Encoding", b"chunked")])
        body = b"".join(b"".join(chunk([piece])) for piece in chunks)
        found = requests(head + body + last_chunk([(b"T", b"1")]), size)
        self.assertEqual(b"".join(event for event in found if isinstance(event, bytes)), b"".join(chunks))
        self.assertEqual(found[-1], End([(b"T", b"1")]))


class ResponseTests(SynchronousTestCase):
    def test_byte_by_byte(self) -> None:
        head = response_head(200, b"OK", [(b"Content-Length", b"2")])
        data = b"HTTP/1.1 100 Continue\r\n\r\n" + head + b"ab" + b"HTTP/1.1 204 No Content\r\n\r\n"
        whole = responses(data, len(data))
        self.assertEqual(whole, responses(data, 1))
        statuses = [event.status for event in whole if isinstance(event, ResponseHead)]
        self.assertEqual(statuses, [100, 200, 204])

    def test_head_has_no_body(self) -> None:
        data = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n"
        reader = ResponseReader()
        reader.expect(True)
        self.assertEqual(reader.feed(data)[1:], [End([])])
        reader.expect(False)
        self.assertEqual(reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")[1:], [b"x", End([])])

    def test_what_comes_behind_an_answer_to_head_is_not_of_it(self) -> None:
        data = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
        reader = ResponseReader()
        reader.expect(True)
        self.assertEqual(reader.feed(data + b"body")[1:], [End([])])
        self.assertFalse(reader.idle)
        self.assertRaises(MessageError, reader.feed, data)

    def test_how_bodies_end(self) -> None:
        for head, bounded in (
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", True),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", True),
            (b"HTTP/1.1 200 OK\r\n\r\n", False),
            (b"HTTP/1.1 304 Not Modified\r\n\r\n", True),
        ):
            found = responses(head, 4096)[0]
            assert isinstance(found, ResponseHead)
            self.assertEqual(found.bounded, bounded, head)

    def test_long_bodies_of_known_length(self) -> None:
        body = bytes(range(256)) * 2000
        head = response_head(200, b"OK", [(b"Content-Length", b"%d" % len(body))])
        one = head + body
        for size in (1000, 300_000, len(one) - 1, len(one), len(one) + 10, 2 * len(one) - 1, 2 * len(one)):
            found = responses(one + one, size)
            self.assertEqual(found[1:3] + found[4:], [body, End([]), body, End([])], size)
            self.assertEqual(found[0], found[3])
        self.assertEqual(responses(head, 100, head_only=True)[1:], [End([])])
        self.assertEqual(responses(one[:-1], 1000)[1:], [body[:-1]])

    def test_switching_protocols(self) -> None:
        data = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nframe"
        whole = responses(data, len(data))
        self.assertEqual(whole[1:], [End([]), Switched(b"frame")])

    def test_garbage(self) -> None:
        for data in (b"SSH-2.0-OpenSSH_9.2\r\n", b"\x15\x03\x01\x00\x02\x02\x28", b"HTTP/1.1 abc\r\n\r\n"):
            self.assertRaises(MessageError, responses, data, len(data))


class HeaderTests(SynchronousTestCase):
    def test_what_is_forwarded(self) -> None:
        headers = [
            (b"Accept", b"a"),
            (b"Connection", b"keep-alive, X-Private"),
            (b"X-PRIVATE", b"1"),
            (b"x-kept", b"2"),
            (b"accept", b"b"),
            (b"CONNECTION", b"Other"),
            (b"other", b"3"),
            (b"Transfer-Encoding", b"chunked"),
        ]
        kept, noted = split_headers(headers, HOP_BY_HOP)
        self.assertEqual(kept, [(b"Accept", b"a"), (b"x-kept", b"2"), (b"accept", b"b")])
        self.assertEqual(
            noted,
            {
                b"accept": b"a,b",
                b"connection": b"keep-alive, X-Private,Other",
                b"transfer-encoding": b"chunked",
            },
        )

    def test_connection_takes_neither_length_nor_host_away(self) -> None:
        headers = [(b"Host", b"a"), (b"Content-Length", b"3"), (b"Connection", b"content-length, host, x-y")]
        kept, _ = split_headers([*headers, (b"X-Y", b"1")], HOP_BY_HOP)
        self.assertEqual(kept, headers[:2])

    def test_empty_chunk_would_end_the_body(self) -> None:
        self.assertEqual(chunk([]), [])
        self.assertEqual(chunk([b"", b""]), [])
