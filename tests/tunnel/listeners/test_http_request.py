"""Which requests go on, to whom, and as what."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.tunnel.listeners.http_request import Forwarded, forwarded, response_headers
from superedge.tunnel.listeners.refusals import BadRequest
from superedge.web.h1 import RequestReader
from superedge.web.heads import RequestHead


def head_of(data: bytes) -> RequestHead:
    (head, *_) = RequestReader().feed(data)
    assert isinstance(head, RequestHead)
    return head


def sent_on(data: bytes) -> Forwarded:
    return forwarded(head_of(data))


class RoutingTests(SynchronousTestCase):
    def test_by_host(self) -> None:
        for host, expected in (
            (b"edge-1", ("edge-1", None)),
            (b"Edge-1.shops.example.:9100", ("Edge-1.shops.example.", 9100)),
            (b"192.0.2.7:80", ("192.0.2.7", 80)),
        ):
            request = sent_on(b"GET /x?y=1 HTTP/1.1\r\nHost: %b\r\n\r\n" % host)
            self.assertEqual((request.host, request.port), expected)
            self.assertEqual(
                request.head, b"GET /x?y=1 HTTP/1.1\r\nHost: %b\r\nVia: 1.1 superedge\r\n\r\n" % host
            )

    def test_by_a_target_with_a_host_whatever_host_says(self) -> None:
        for target, line in (
            (b"http://edge-1:9100/metrics?a#", b"GET /metrics?a# HTTP/1.1"),
            (b"HTTP://edge-1:9100", b"GET / HTTP/1.1"),
            (b"http://edge-1:9100?a=b", b"GET /?a=b HTTP/1.1"),
        ):
            request = sent_on(b"GET %b HTTP/1.1\r\nHost: edge-2\r\n\r\n" % target)
            self.assertEqual((request.host, request.port), ("edge-1", 9100))
            lines = request.head.split(b"\r\n")
            self.assertEqual(lines[:2], [line, b"Host: edge-1:9100"])
        request = sent_on(b"OPTIONS http://edge-1 HTTP/1.1\r\nHost: edge-2\r\n\r\n")
        self.assertEqual(request.head.split(b"\r\n")[0], b"OPTIONS * HTTP/1.1")

    def test_what_names_no_node(self) -> None:
        for lines in (
            b"GET / HTTP/1.1\r\n",
            b"GET / HTTP/1.1\r\nHost: edge-1\r\nHost: edge-2\r\n",
            b"GET / HTTP/1.1\r\nHost: edge-1 edge-2\r\n",
            b"GET / HTTP/1.1\r\nHost: edge-1,edge-2\r\n",
            b"GET / HTTP/1.1\r\nHost: \r\n",
            b"GET / HTTP/1.1\r\nHost: edge-1:0\r\n",
            b"GET / HTTP/1.1\r\nHost: edge-1:65536\r\n",
            b"GET / HTTP/1.1\r\nHost: edge-1:9100x\r\n",
            b"GET / HTTP/1.1\r\nHost: user@edge-1\r\n",
            b"GET http://user@edge-1/ HTTP/1.1\r\nHost: edge-1\r\n",
            b"GET / HTTP/1.1\r\nHost: edge-1/../edge-2\r\n",
            b"GET ftp://edge-1/ HTTP/1.1\r\nHost: edge-1\r\n",
        ):
            problem = self.assertRaises(BadRequest, sent_on, lines + b"\r\n")
            self.assertEqual(problem.status, 400, lines)

    def test_connect_is_another_listeners(self) -> None:
        problem = self.assertRaises(BadRequest, sent_on, b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(problem.status, 405)

    def test_versions(self) -> None:
        for version, status in ((b"2.0", 505), (b"0.9", 505)):
            problem = self.assertRaises(
                BadRequest, sent_on, b"GET / HTTP/%b\r\nHost: edge-1\r\n\r\n" % version
            )
            self.assertEqual(problem.status, status)


class FramingTests(SynchronousTestCase):
    def test_what_is_about_the_callers_connection_stays(self) -> None:
        request = sent_on(
            b"GET / HTTP/1.1\r\nHost: edge-1\r\nConnection: close, X-Secret\r\nX-Secret: 1\r\n"
            b"Keep-Alive: 3\r\nTE: trailers\r\nProxy-Authorization: Basic eDp5\r\nX-Kept: 2\r\n\r\n"
        )
        self.assertEqual(
            request.head, b"GET / HTTP/1.1\r\nHost: edge-1\r\nX-Kept: 2\r\nVia: 1.1 superedge\r\n\r\n"
        )

    def test_connection_cannot_take_the_bodys_length_or_the_host_away(self) -> None:
        request = sent_on(
            b"POST / HTTP/1.1\r\nHost: edge-1\r\nContent-Length: 5\r\nConnection: content-length,host\r\n\r\n"
        )
        self.assertIn(b"Host: edge-1\r\n", request.head)
        self.assertIn(b"Content-Length: 5\r\n", request.head)
        self.assertTrue(request.has_body)

    def test_length(self) -> None:
        request = sent_on(b"POST / HTTP/1.1\r\nHost: edge-1\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual((request.has_body, request.chunked), (False, False))
        self.assertEqual(request.head.count(b"Content-Length: 0"), 1)

    def test_chunked(self) -> None:
        request = sent_on(b"POST / HTTP/1.1\r\nHost: edge-1\r\nTransfer-Encoding: Chunked\r\n\r\n")
        self.assertEqual((request.has_body, request.chunked), (True, True))
        self.assertEqual(request.head.lower().count(b"transfer-encoding: chunked"), 1)

    def test_upgrade(self) -> None:
        request = sent_on(
            b"GET / HTTP/1.1\r\nHost: edge-1\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        self.assertIn(b"Connection: Upgrade\r\nUpgrade: websocket\r\n", request.head)

    def test_answers(self) -> None:
        headers, bounded = response_headers(
            [(b"Connection", b"X-A"), (b"X-A", b"1"), (b"Content-Length", b"3"), (b"X-B", b"2")]
        )
        self.assertEqual(headers, [(b"Content-Length", b"3"), (b"X-B", b"2"), (b"Via", b"1.1 superedge")])
        self.assertTrue(bounded)
        self.assertFalse(response_headers([(b"Transfer-Encoding", b"chunked")])[1])

    @given(
        st.lists(
            st.sampled_from(
                [
                    b"Host: edge-1",
                    b"Content-Length: 3",
                    b"Content-Length: 03",
                    b"Transfer-Encoding: chunked",
                    b"Transfer-Encoding: identity",
                    b"Connection: content-length",
                    b"Connection: transfer-encoding, host",
                    b"Connection: upgrade",
                    b"Upgrade: x",
                    b"Content-Length : 4",
                    b" folded",
                ]
            ),
            max_size=6,
        )
    )
    def test_what_goes_on_has_one_host_and_one_length(self, lines: list[bytes]) -> None:
        try:
            events = RequestReader().feed(
                b"POST / HTTP/1.1\r\n" + b"".join(x + b"\r\n" for x in lines) + b"\r\n"
            )
            assert isinstance(events[0], RequestHead)
            request = forwarded(events[0])
        except Exception as problem:
            self.assertIn(type(problem).__name__, ("MessageError", "BadRequest"))
            return
        low = request.head.lower()
        self.assertEqual(low.count(b"\r\nhost:"), 1)
        framing = low.count(b"\r\ncontent-length:") + low.count(b"\r\ntransfer-encoding:")
        self.assertLessEqual(framing, 1)
        if request.has_body:
            self.assertEqual(framing, 1)
