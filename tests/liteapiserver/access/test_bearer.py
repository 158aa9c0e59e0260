from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.liteapiserver.access.bearer import bearer_token, without_front_proxy

PREFIX = b"base64url.bearer.authorization.k8s.io."


def lines(*headers: tuple[bytes, bytes]) -> bytes:
    return b"".join(b"%b: %b\r\n" % pair for pair in headers)


def subprotocol(token: bytes) -> bytes:
    return PREFIX + base64.urlsafe_b64encode(token).rstrip(b"=")


def authorization(value: bytes) -> bytes:
    return lines((b"Authorization", value))


def protocols(*values: bytes) -> bytes:
    return lines(*((b"Sec-WebSocket-Protocol", value) for value in values))


class PresentedTokenTests(SynchronousTestCase):
    def test_nothing(self) -> None:
        for head in (b"", lines((b"Accept", b"a")), protocols(b"v5.channel.k8s.io")):
            self.assertEqual(bearer_token(head, True), "", head)
        self.assertEqual(bearer_token(lines((b"X-Authorization", b"Bearer a")), True), "")

    def test_one_bearer_token_as_the_api_server_takes_it(self) -> None:
        for value in (b"Bearer abc", b"bearer abc", b" BEARER abc ", b"Bearer abc more"):
            self.assertEqual(bearer_token(authorization(value), False), "abc", value)
        self.assertEqual(bearer_token(lines((b"AUTHORIZATION", b"Bearer abc")), False), "abc")

    def test_a_header_in_which_it_sees_none(self) -> None:
        for value in (b"Bearer", b"Bearer  abc", b"Bearer\tabc", b"Basic YTpi", b"x 1", b"Bearer \xff", b""):
            self.assertIsNone(bearer_token(authorization(value), False), value)

    def test_a_subprotocol(self) -> None:
        for head in (
            protocols(b"v5.channel.k8s.io, " + subprotocol(b"abc")),
            protocols(b"v5.channel.k8s.io", subprotocol(b"abc")),
        ):
            self.assertEqual(bearer_token(head, True), "abc")
            self.assertIsNone(bearer_token(head, False), "no WebSocket: it is ignored")

    def test_several_decide_nothing(self) -> None:
        for head in (
            authorization(b"Bearer abc") + protocols(b"v5.channel.k8s.io, " + subprotocol(b"xyz")),
            authorization(b"Bearer abc") + authorization(b"Bearer abc"),
            authorization(b"Basic YTpi") + protocols(subprotocol(b"xyz")),
            protocols(subprotocol(b"abc") + b"," + subprotocol(b"xyz")),
            protocols(subprotocol(b"abc"), subprotocol(b"xyz")),
        ):
            self.assertIsNone(bearer_token(head, True), head)

    def test_subprotocols_that_are_malformed(self) -> None:
        for value in (PREFIX, PREFIX + b"!", PREFIX + b"a", subprotocol(b"\xff"), subprotocol(b"a b")):
            self.assertIsNone(bearer_token(protocols(value), True), value)

    @given(st.lists(st.tuples(st.sampled_from([b"Authorization", b"Sec-WebSocket-Protocol"]), st.binary())))
    def test_any_bytes_are_read(self, headers: list[tuple[bytes, bytes]]) -> None:
        plain = [(name, value.replace(b"\r", b"").replace(b"\n", b"")) for name, value in headers]
        token = bearer_token(lines(*plain), True)
        self.assertTrue(token is None or token == "" or token.isprintable())


class FrontProxyTests(SynchronousTestCase):
    def test_headers_of_a_front_proxy_are_not_sent_on(self) -> None:
        kept = lines((b"Accept", b"a"), (b"X-Remote", b"b"))
        for name in (b"X-Remote-User", b"x-remote-group", b"X-REMOTE-EXTRA-SCOPES", b"X-Remote-Uid"):
            self.assertEqual(without_front_proxy(lines((name, b"admin")) + kept), kept)
        self.assertEqual(without_front_proxy(kept), kept)
