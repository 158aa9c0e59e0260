"""What device servers send is read; what leaves is unambiguous."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.web.chunks import MAX_LINES
from superedge.web.errors import MessageError
from superedge.web.h1 import MAX_HEAD, End
from superedge.web.heads import Headers, ResponseHead
from superedge.web.responses import ResponseReader
from tests.web.test_h1 import merged

SIZE_LINES = (b"%x\r\n", b"%X\r\n", b"0%x\r\n", b"%x\n", b"%x;a\n", b"%x ;a\r\n")


def read(data: bytes, size: int, head_only: bool = False) -> list[object]:
    reader = ResponseReader()
    reader.expect(head_only)
    return merged([event for at in range(0, len(data), size) for event in reader.feed(data[at : at + size])])


class LenientTests(SynchronousTestCase):
    def both(self, data: bytes, head_only: bool = False) -> list[object]:
        """The events, whole and byte by byte."""
        whole = read(data, len(data), head_only)
        self.assertEqual(whole, read(data, 1, head_only), data)
        return whole

    def message(self, data: bytes) -> tuple[ResponseHead, bytes]:
        """Head and body of one whole response."""
        head, *body, end = self.both(data)
        assert isinstance(head, ResponseHead) and isinstance(end, End), data
        return head, body[0] if body else b""  # type: ignore[return-value]

    def headers(self, fields: bytes) -> Headers:
        return self.message(b"HTTP/1.1 200 OK\r\n" + fields + b"Content-Length: 0\r\n\r\n")[0].headers[:-1]

    def test_lines_that_end_with_a_bare_lf(self) -> None:
        head, body = self.message(b"HTTP/1.1 200 OK\nServer: cam\nContent-Length: 2\n\nok")
        self.assertEqual(head.headers, [(b"Server", b"cam"), (b"Content-Length", b"2")])
        self.assertEqual((body, head.reason), (b"ok", b"OK"))
        self.assertEqual(self.message(b"HTTP/1.1 200 OK\r\nContent-Length: 2\n\r\nok")[1], b"ok")
        self.assertEqual(self.message(b"HTTP/1.0 200 OK\nContent-Length: 2\r\n\nok")[1], b"ok")

    def test_padded_chunk_sizes(self) -> None:
        for body in (
            b"2  \r\nab\r\n1\t\r\nc\r\n0\r\n\r\n",
            b"0002\r\nab\r\n000001\r\nc\r\n0000\r\n\r\n",
            b" 2\r\nab\r\n1 ;x=y\r\nc\r\n0  \r\n\r\n",
            b"2\nab\n1\nc\n0\n\n",
            b"00000000000000000003\r\nabc\r\n0\r\n\r\n",
            b"3;x\nabc\r\n0\r\n\r\n",
            b"3\r\r\nabc\r\n0\r\n\r\n",
        ):
            head, found = self.message(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
            self.assertEqual(found, b"abc", body)
            self.assertTrue(head.bounded and head.keep_alive)

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(
            st.tuples(st.sampled_from([1, 2, 15, 16, 255, 256]), st.sampled_from(SIZE_LINES)), max_size=8
        ),
        st.integers(1, 900),
    )
    def test_chunks_of_any_size(self, chunks: list[tuple[int, bytes]], cut: int) -> None:
        content = [bytes([at]) * size for at, (size, _) in enumerate(chunks, 65)]
        sent = [line % len(each) + each + b"\r\n" for each, (_, line) in zip(content, chunks, strict=True)]
        data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(sent) + b"0\r\n\r\n"
        body = b"".join(content)
        self.assertEqual(read(data, cut)[1:], [*([body] if body else []), End([])])

    def test_a_chunk_that_does_not_end_is_refused(self) -> None:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for chunks in (b"2\r\nab\r\n2\r\nabc\r\n", b"2\r\nab\r\n2\r\nab2\r\nab\r\n", b"2\r\nab\r\n\r\n"):
            for size in (1, 100):
                self.assertRaises(MessageError, read, head + chunks, size)

    def test_the_same_length_said_twice_is_said_once(self) -> None:
        for fields in (
            b"Content-Length: 2\r\nContent-Length: 2\r\n",
            b"Content-Length: 2, 2\r\n",
            b"content-length: 02\r\nX: y\r\nCONTENT-LENGTH: 2\r\n",
        ):
            head, body = self.message(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\nok")
            lengths = [value for name, value in head.headers if name.lower() == b"content-length"]
            self.assertEqual((lengths, body), ([b"2"], b"ok"))

    def test_folded_and_padded_headers(self) -> None:
        self.assertEqual(
            self.headers(b"X-A: one\r\n two\n\t three \r\nX-B : b\r\nX-C:c\r\nX-D:\r\n d\r\nX-E: \r\n"),
            [(b"X-A", b"one two three"), (b"X-B", b"b"), (b"X-C", b"c"), (b"X-D", b"d"), (b"X-E", b"")],
        )

    def test_a_folded_length_counts(self) -> None:
        self.assertEqual(self.message(b"HTTP/1.1 200 OK\r\nContent-Length:\r\n 2\r\n\r\nok")[1], b"ok")

    def test_no_control_character_goes_on(self) -> None:
        self.assertEqual(
            self.headers(b"X-A: a\rSet-Cookie: b\0c\x1b\r\nX-B: d\r\r\n\xc3\xa9: x\r\n"[:-7]),
            [(b"X-A", b"a Set-Cookie: b c"), (b"X-B", b"d")],
        )
        head, _ = self.message(b"HTTP/1.1 200 O\rK\x00\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(head.reason, b"O K")

    def test_chunks_win_over_a_length_and_the_connection_is_not_used_again(self) -> None:
        head, body = self.message(
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        )
        self.assertEqual((head.headers, body), ([(b"Transfer-Encoding", b"chunked")], b"ok"))
        self.assertFalse(head.keep_alive)

    def test_a_body_where_none_may_be(self) -> None:
        for status in (b"204 No Content", b"304 Not Modified"):
            reader = ResponseReader()
            events = reader.feed(b"HTTP/1.1 " + status + b"\r\nContent-Length: 4\r\n\r\nbody")
            head, end = events
            assert isinstance(head, ResponseHead)
            self.assertEqual(end, End([]))
            self.assertFalse(reader.idle)
        head, _ = self.message(b"HTTP/1.1 204 No\r\nContent-Length: 4\r\n\r\n")
        self.assertEqual((head.headers, head.keep_alive), ([], False), "four bytes may still come")

    def test_status_lines(self) -> None:
        for line, status, reason in (
            (b"HTTP/1.1 200", 200, b""),
            (b"HTTP/1.1 200 ", 200, b""),
            (b"HTTP/1.0 404 Not  Found ", 404, b"Not  Found"),
            (b"HTTP/1.1  999 \xe9", 999, b"\xe9"),
            (b"\r\n\nHTTP/1.1 200 OK", 200, b"OK"),
        ):
            head, _ = self.message(line + b"\r\nContent-Length: 0\r\n\r\n")
            self.assertEqual((head.status, head.reason), (status, reason))

    def test_whether_the_connection_is_kept(self) -> None:
        for head, kept in (
            (b"HTTP/1.1 200 OK\r\nContent-Length: 0", True),
            (b"HTTP/1.1 200 OK\r\nConnection: x\r\nConnection: Close\r\nContent-Length: 0", False),
            (b"HTTP/1.0 200 OK\r\nContent-Length: 0", False),
            (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0", True),
        ):
            self.assertEqual(self.message(head + b"\r\n\r\n")[0].keep_alive, kept, head)

    def test_what_has_two_meanings_is_refused(self) -> None:
        ok = b"HTTP/1.1 200 OK\r\n"
        chunked = ok + b"Transfer-Encoding: chunked\r\n\r\n"
        for data in (
            ok + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
            ok + b"Content-Length: 2, 3\r\n\r\nabc",
            ok + b"Content-Length: -2\r\n\r\nabc",
            ok + b"Content-Length: +2\r\n\r\nabc",
            ok + b"Content-Length: 0x2\r\n\r\nabc",
            ok + b"Content-Length:\r\n\r\nabc",
            ok + b"Content-Length: 9999999999999999999\r\n\r\n",
            ok + b"Transfer-Encoding: gzip\r\n\r\n",
            ok + b"Transfer-Encoding: chunked, gzip\r\n\r\n",
            ok + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            ok + b" X: first\r\n\r\n",
            ok + b"no colon\r\n\r\n",
            ok + b": empty\r\n\r\n",
            ok + b"Content\0Length: 2\r\n\r\n",
            b"HTTP/2.0 200 OK\r\n\r\n",
            b"HTTP/1.1 20 OK\r\n\r\n",
            b"HTTP/1.1 2000 OK\r\n\r\n",
            b"ICY 200 OK\r\n\r\n",
            chunked + b"x\r\n",
            chunked + b"-1\r\n",
            chunked + b"\r\n",
            chunked + b"2 2\r\nab\r\n",
            chunked + b"2\r\nabc\r\n",
            chunked + b"1000000000000000\r\n",
        ):
            for size in (len(data), 1):
                self.assertRaises(MessageError, read, data, size)

    def test_identity_is_no_coding(self) -> None:
        head, body = self.message(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok"
        )
        self.assertEqual((head.headers, body), ([(b"Content-Length", b"2")], b"ok"))

    def test_trailers(self) -> None:
        data = (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Sum: 1\n 2\r\nY:z\r\n\r\n"
        )
        self.assertEqual(self.both(data)[-1], End([(b"X-Sum", b"1 2"), (b"Y", b"z")]))

    def test_endless_lines_are_bounded(self) -> None:
        ok = b"HTTP/1.1 200 OK\r\n"
        chunked = ok + b"Transfer-Encoding: chunked\r\n\r\n"
        for begin, piece in (
            (b"", b"\r\n"),
            (ok, b"x" * 1000),
            (ok, b"X: y\r\n"),
            (ok + b"X: y\r\n", b" z\r\n"),
            (chunked, b"0"),
            (chunked + b"1;", b"x" * 1000),
            (chunked + b"0\r\n", b"X: y\r\n"),
        ):
            reader = ResponseReader()
            reader.feed(begin)
            with self.assertRaises(MessageError, msg=piece):
                for _ in range((MAX_HEAD + MAX_LINES) // len(piece) + 2):
                    reader.feed(piece)

    def test_what_is_whole_counts_whatever_comes_behind_it(self) -> None:
        for whole in (
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ):
            reader = ResponseReader()
            self.assertEqual(reader.feed(whole + b"\x00junk")[1:][0], b"ok")
            self.assertFalse(reader.idle)
            reader = ResponseReader()
            reader.feed(whole)
            self.assertTrue(reader.idle)
            reader.feed(b"HT")
            self.assertFalse(reader.idle)

    @settings(max_examples=300, deadline=None)
    @given(
        st.sampled_from(
            [b"HTTP/1.1 200 OK", b"HTTP/1.0 200", b"HTTP/1.1 204 x", b"HTTP/1.1 100 c", b"HTTP/1.1 304"]
        ),
        st.lists(
            st.sampled_from(
                [
                    b"Content-Length: 3",
                    b"Content-Length: 03, 3",
                    b"content-length :\t4",
                    b"Transfer-Encoding: chunked",
                    b"transfer-encoding : Chunked",
                    b"Transfer-Encoding:\r\n chunked",
                    b"Connection: close",
                    b"X: a\r\n b",
                    b" Content-Length: 5",
                    b"X: a\rContent-Length: 5",
                    b"X\0: b",
                ]
            ),
            max_size=4,
        ),
        st.sampled_from([b"\r\n", b"\n"]),
        st.sampled_from([b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"03 \nabc\n0\n\n", b""]),
        st.integers(1, 20),
        st.booleans(),
    )
    def test_whatever_the_pieces_the_message_is_one(
        self, first: bytes, fields: list[bytes], ending: bytes, body: bytes, size: int, head_only: bool
    ) -> None:
        data = ending.join([first, *fields, b"", body])

        def outcome(size: int) -> list[object] | None:
            try:
                return read(data, size, head_only)
            except MessageError:
                return None

        def first_message(found: list[object] | None) -> list[object] | None:
            ends = [place for place, event in enumerate(found or []) if isinstance(event, End)]
            return found[: ends[0] + 1] if found and ends else found

        whole, chunks = outcome(len(data)), outcome(size)
        if chunks is not None:  # else the bytes behind a whole message were none
            self.assertEqual(first_message(whole), first_message(chunks))
        for event in whole or []:
            if isinstance(event, ResponseHead):
                names = [name.lower() for name, _ in event.headers]
                self.assertLessEqual(names.count(b"content-length") + names.count(b"transfer-encoding"), 1)
                self.assertNotRegex(event.lines.replace(b"\r\n", b""), rb"[\x00-\x08\x0a-\x1f\x7f]")

    @settings(max_examples=200)
    @given(st.binary(max_size=200), st.integers(1, 50))
    def test_any_bytes(self, data: bytes, size: int) -> None:
        for prefix in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"):
            with contextlib.suppress(MessageError):
                read(prefix + data, size)
