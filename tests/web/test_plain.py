from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.web.h1 import End, RequestReader
from superedge.web.heads import HOP_BY_HOP, RequestHead, ResponseHead, header_lines, split_headers
from superedge.web.plain import CHUNKED, MAX_PLAIN, plain_request, plain_response
from superedge.web.responses import ResponseReader
from tests.web.test_h1 import GET, merged

LINES = st.one_of(
    st.sampled_from(
        [
            b"Host: a",
            b"Accept: application/json, */*",
            b"Authorization: Bearer x.y.z",
            b"X-Empty:",
            b"X-Spaces:   v  ",
            b"X-Tab: a\tb",
            b"X-High: \xc3\xa9",
            b" folded",
            b"Content-Length: 3",
            b"Content-Length: 03",
            b"content-length: +3",
            b"Content-Length : 3",
            b"Transfer-Encoding: chunked",
            b"transfer-encoding: identity",
            b"Connection: keep-alive",
            b"Connection: close",
            b"Connection: x-tab, keep-alive",
            b"Keep-Alive: timeout=5",
            b"Upgrade: websocket",
            b"Expect: 100-continue",
            b"Content-Type: text/html",
            b"Audit-Id: 1",
            b"Audit-Id: *",
            b"Audit-Id: ",
            b"Date: Tue, 15 Nov 1994 08:12:31 GMT",
            b"Date: \x01",
            b"Date:  x",
            b"",
        ]
    ),
    st.binary(max_size=12),
    st.builds(lambda name, value: name + b": " + value, st.binary(max_size=5), st.binary(max_size=8)),
)
HEADS = st.lists(LINES, max_size=6)
REQUEST_LINES = st.sampled_from(
    [
        b"GET / HTTP/1.1",
        b"HEAD /api/v1/pods?watch=1&x=%20 HTTP/1.1",
        b"POST / HTTP/1.1",
        b"GET / HTTP/1.0",
        b"GET http://a/ HTTP/1.1",
        b"GET  / HTTP/1.1",
        b"GET /\x7f HTTP/1.1",
    ]
)
STATUS_LINES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.1 200 ",
        b"HTTP/1.1 200",
        b"HTTP/1.1 404 Not Found",
        b"HTTP/1.1 204 No Content",
        b"HTTP/1.1 304 Not Modified",
        b"HTTP/1.1 100 Continue",
        b"HTTP/1.1 101 Switching Protocols",
        b"HTTP/1.0 200 OK",
        b"HTTP/1.1 600 ?",
    ]
)


def message(first: bytes, lines: list[bytes], body: bytes) -> bytes:
    return b"\r\n".join([first, *lines, b"", body])


def read(reader: RequestReader | ResponseReader, data: bytes, cut: int) -> list[object]:
    """What a reader makes of data in two chunks; no cut within the head leaves it to the parser."""
    return merged([*reader.feed(data[:cut]), *reader.feed(data[cut:])])


class PlainTests(SynchronousTestCase):
    @settings(max_examples=400)
    @given(REQUEST_LINES, HEADS)
    def test_a_plain_request_is_what_the_parser_finds(self, first: bytes, lines: list[bytes]) -> None:
        data = message(first, lines, b"")
        head = plain_request(data)
        if head is not None:
            self.assertEqual(read(RequestReader(), data, 5), [head, End([])])
            self.assertEqual(RequestReader().feed(data), [head, End([])])
            self.assertEqual(head.raw, data)

    @settings(max_examples=400)
    @given(STATUS_LINES, HEADS, st.binary(max_size=5))
    def test_a_plain_response_is_what_the_parser_finds(
        self, first: bytes, lines: list[bytes], body: bytes
    ) -> None:
        data = message(first, lines, body)
        plain = plain_response(data)
        if plain is None:
            return
        head, length = plain.head, plain.length
        raw = data[: plain.size]
        content = b"x" * length if length != CHUNKED else b"ab"
        whole = raw + (content if length != CHUNKED else b"1\r\na\r\n1\r\nb\r\n0\r\n\r\n")
        parsed = read(ResponseReader(), whole, 5)
        self.assertEqual(parsed, [head, *([content] if content else []), End([])])
        self.assertEqual(merged(ResponseReader().feed(whole)), parsed)
        kept, noted = head.forwarded()
        headers, said = split_headers(head.headers, HOP_BY_HOP)
        self.assertEqual(kept, header_lines(headers))
        if b"audit-id" in noted:  # that it is there is all that is told
            said[b"audit-id"] = noted[b"audit-id"]
        self.assertEqual(noted, said)

    @settings(max_examples=200)
    @given(
        STATUS_LINES, HEADS, st.lists(st.sampled_from([b"1", b"*", b" 1", b"1\r\nX: y", b"\x00"]), min_size=4)
    )
    def test_a_template_reads_heads_as_without_it(
        self, first: bytes, lines: list[bytes], values: list[bytes]
    ) -> None:
        lines.append(b"Content-Length: 1")

        def answer(audit: bytes, date: bytes) -> bytes:
            return message(first, [b"Audit-Id: " + audit, *lines, b"Date: " + date], b"a")

        known = plain_response(answer(*values[:2]))
        if known is None:
            return
        for data in (answer(*values[2:4]), answer(*values[2:4])[:-9], message(first, lines, b"")):
            found, expected = known.template.read(data), plain_response(data)
            self.assertIn(found, (None, expected))
            if found is not None and expected is not None:
                self.assertEqual(found.head.forwarded(), expected.head.forwarded())

    def test_what_is_plain(self) -> None:
        self.assertIsNotNone(plain_request(GET))
        answer = b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\nX: y\r\n\r\nab"
        plain = plain_response(answer)
        assert plain is not None
        self.assertEqual((plain.size, plain.length), (len(answer) - 2, 2))
        self.assertEqual(plain.head.forwarded()[0], b"Content-Length: 2\r\nX: y\r\n")
        plain = plain_response(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX: y\r\n\r\n")
        assert plain is not None
        self.assertEqual((plain.length, plain.head.forwarded()[0]), (CHUNKED, b"X: y\r\n"))

    def test_values_of_its_own(self) -> None:
        """An answer like one before, but for Date and Audit-Id, is told as it is."""

        def answer(audit: bytes, date: bytes, *more: bytes) -> bytes:
            lines = [b"Audit-Id: " + audit, b"Connection: Keep-Alive", b"ETag: %b", b"Date: " + date, *more]
            return message(b"HTTP/1.1 200 OK", [*lines, b"Content-Length: 1"], b"a")

        for audit, date in ((b"1", b"Mon"), (b"2-3", b"Tue, 15 Nov"), (b"*", b"*")):
            plain = plain_response(answer(audit, date))
            assert plain is not None
            forwarded_head, noted = plain.head.forwarded()
            rest = b"ETag: %%b\r\nDate: %b\r\nContent-Length: 1\r\n" % date
            self.assertEqual(forwarded_head, b"Audit-Id: %b\r\n%b" % (audit, rest))
            self.assertIn(b"audit-id", noted)
            self.assertIn((b"Audit-Id", audit), plain.head.headers)
            self.assertIn((b"Connection", b"Keep-Alive"), plain.head.headers)
            self.assertEqual(plain.template.read(answer(b"9", b"Wed")), plain_response(answer(b"9", b"Wed")))
        for audit, date in (
            (b"1", b"a\x00"),
            (b"a\nb", b"Mon"),
            (b"a\rb", b"Mon"),
            (b"", b""),
            (b" 1", b"Mon"),
        ):
            self.assertIsNone(plain_response(answer(audit, date)), (audit, date))
        self.assertIsNone(plain_response(answer(b"1", b"Mon", b"Audit-Id: 2")))
        self.assertIsNone(plain_response(answer(b"1", b"Mon", b"Audit-Id: *")))

    def test_a_head_that_came_before(self) -> None:
        reader = ResponseReader()
        first = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: 1\r\n\r\n"
        other = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nX: 1\r\n\r\n"
        answers = ((first, b"ab", 200), (first, b"cd", 200), (other, b"ef", 404), (first, b"gh", 200))
        for raw, body, status in answers:
            head, *rest = reader.feed(raw + body)
            assert isinstance(head, ResponseHead)
            self.assertEqual((head.status, rest), (status, [body, End([])]))
        self.assertEqual(len(reader.feed(first)), 1)  # its body comes later
        self.assertEqual(reader.feed(b"i"), [b"i"])
        self.assertEqual(reader.feed(b"j" + first + b"kl")[:2], [b"j", End([])])
        # In two chunks it is the parser's, and what follows is not.
        self.assertEqual(
            merged([*reader.feed(first[:9]), *reader.feed(first[9:] + b"mn")])[1:], [b"mn", End([])]
        )
        self.assertEqual(reader.feed(first + b"op")[1:], [b"op", End([])])
        reader.expect(True)
        self.assertEqual(len(reader.feed(first)), 2)

    def test_what_decides_where_a_message_ends_is_the_parsers(self) -> None:
        for line in (
            b"Content-Length: 0",
            b"Transfer-Encoding: chunked",
            b"Upgrade: h2c",
            b"Expect: 100-continue",
            b"Connection: close",
            b"X: a\x00b",
            b"X: a\rb",
            b"X : a",
            b" folded",
        ):
            self.assertIsNone(plain_request(message(b"GET / HTTP/1.1", [b"Host: a", line], b"")), line)
        for lines in (
            [],
            [b"Content-Length: 1", b"Content-Length: 1"],
            [b"Content-Length: 1", b"Transfer-Encoding: chunked"],
            [b"Content-Length: 1", b"Connection: close"],
            [b"Content-Length: -1"],
            [b"Content-Length: 1" + b"0" * 20],
        ):
            self.assertIsNone(plain_response(message(b"HTTP/1.1 200 OK", lines, b"a")), lines)
        for status in (b"100 Continue", b"204 No Content", b"304 Not Modified"):
            self.assertIsNone(plain_response(message(b"HTTP/1.1 " + status, [b"Content-Length: 1"], b"")))
        self.assertIsNone(plain_request(GET + GET))

    def test_long_heads_are_not_kept(self) -> None:
        line = b"X: " + b"y" * MAX_PLAIN
        before = plain_request.cache_info().currsize
        (head, _) = RequestReader().feed(message(b"GET / HTTP/1.1", [line], b""))
        assert isinstance(head, RequestHead)
        self.assertEqual(head.raw, b"")
        self.assertEqual(plain_request.cache_info().currsize, before)
        self.assertIsNone(plain_response(message(b"HTTP/1.1 200 OK", [b"Content-Length: 1", line], b"a")))

    def test_in_the_middle_of_a_message_the_parser_goes_on(self) -> None:
        reader = RequestReader()
        reader.feed(b"PUT / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (2 * len(GET)))
        self.assertEqual(reader.feed(GET), [GET])
        self.assertEqual(reader.feed(GET), [GET, End([])])
        self.assertEqual(len(reader.feed(GET)), 2)
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"
        answers = ResponseReader()
        answers.feed(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.assertEqual(answers.feed(b"%x\r\n%b\r\n0\r\n\r\n" % (len(answer), answer)), [answer, End([])])
        self.assertEqual(answers.feed(answer)[1:], [b"ab", End([])])
        answers.expect(True)
        self.assertEqual(answers.feed(answer)[1:], [End([])])
        self.assertFalse(answers.idle)
