from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from superedge.kube.errors import DecodeError
from superedge.kube.media import PROTOBUF
from superedge.kube.protobuf import envelope
from superedge.kube.request import RequestInfo
from superedge.kube.wire import field
from superedge.liteapiserver.access.reviews import MAX_BYTES, Reviews, is_review
from tests.liteapiserver.access.test_credentials import ACCOUNT, jwt
from tests.liteapiserver.cache.driver import JSON, ME, request

ACCESS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
TOKENS = "/apis/authentication.k8s.io/v1/tokenreviews"


def asked(path: str = ACCESS, accept: str = JSON) -> RequestInfo:
    return request(path, accept, "POST")


class ReviewTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 1000.0
        self.wall = 0.0
        self.reviews = Reviews(60.0, lambda: self.now, self.clock)

    def clock(self) -> float:
        return self.now + self.wall

    def status(self, question: bytes = b"may I", identity: str = ME, **options: str) -> int:
        return self.reviews.answer(identity, asked(**options), question).status

    def test_what_is_a_review(self) -> None:
        self.assertTrue(is_review(asked()))
        self.assertTrue(
            is_review(asked("/apis/authorization.k8s.io/v1/namespaces/a/localsubjectaccessreviews"))
        )
        self.assertFalse(is_review(request(ACCESS)))
        self.assertFalse(is_review(asked(f"{ACCESS}/one")))
        self.assertFalse(is_review(asked(f"{ACCESS}/one/status")))
        self.assertFalse(is_review(asked("/apis/example.org/v1/subjectaccessreviews")))
        self.assertFalse(is_review(asked("/api/v1/namespaces/a/pods")))

    def test_the_same_question_for_a_short_time(self) -> None:
        self.assertEqual(self.status(), 503)
        self.reviews.record(ME, asked(), b"may I", JSON, b'{"status":{"allowed":true}}')
        self.now += 59
        answer = self.reviews.answer(ME, asked(), b"may I")
        self.assertEqual((answer.status, answer.body), (201, b'{"status":{"allowed":true}}'))
        self.assertEqual(dict(answer.headers)[b"Age"], b"59")
        self.now += 1
        self.assertEqual(self.status(), 503)

    def test_a_clock_that_is_set_makes_nothing_count_longer(self) -> None:
        self.reviews.record(ME, asked(), b"may I", JSON, b"{}")
        for jump in (-3600.0, 3600.0):
            self.wall = jump
            self.assertEqual(self.status(), 201)
        self.now += 60
        for jump in (-3600.0, 0.0):
            self.wall = jump
            self.assertEqual(self.status(), 503)

    def test_nobody_and_nothing_else(self) -> None:
        self.reviews.record(ME, asked(), b"may I", JSON, b"{}")
        self.assertEqual(self.status(b"may I now"), 503)
        self.assertEqual(self.status(identity="cert:other"), 503)
        self.assertEqual(self.status(path=TOKENS), 503)
        self.assertEqual(self.status(accept=PROTOBUF), 503)
        self.assertEqual(self.status(accept=f"{PROTOBUF},{JSON}"), 201)

    def test_the_latest_answer_counts(self) -> None:
        for allowed in (b"yes", b"no"):
            self.reviews.record(ME, asked(), b"may I", JSON, allowed)
        self.assertEqual(self.reviews.answer(ME, asked(), b"may I").body, b"no")

    def test_a_token_no_longer_than_it_is_valid(self) -> None:
        token = jwt(sub=ACCOUNT, exp=1010).split()[1]
        in_json = json.dumps({"spec": {"token": token.decode()}}).encode()
        in_protobuf = envelope("TokenReview", "authentication.k8s.io/v1", field(2, field(1, token)))
        for form, body in ((JSON, in_json), (PROTOBUF, in_protobuf)):
            self.now = 1000.0
            self.reviews.record(ME, asked(TOKENS, form), b"who", form, body)
            self.assertEqual(self.status(b"who", path=TOKENS, accept=form), 201)
            self.now = 1010.0
            self.assertEqual(self.status(b"who", path=TOKENS, accept=form), 503)

    def test_answers_that_cannot_be_read(self) -> None:
        for form, body in ((JSON, b"<html>"), (PROTOBUF, b"k8s"), (PROTOBUF, b"k8s\x00\x12\xff")):
            with self.assertRaises(DecodeError):
                self.reviews.record(ME, asked(TOKENS), b"who", form, body)

    def test_one_who_asks_much_pushes_out_nobody_else(self) -> None:
        self.reviews.record("kubelet", asked(), b"may I", JSON, b"{}")
        size = 256 * 1024
        for number in range(MAX_BYTES // size + 1):
            self.reviews.record(ME, asked(), b"%d" % number, JSON, b"x" * size)
        self.assertEqual(self.status(b"0"), 503)
        self.assertEqual(self.status(b"2"), 201)
        self.assertEqual(self.status(identity="kubelet"), 201)

    def test_json_without_end(self) -> None:
        for body in (b'{"spec":{"token":%b}}' % (b"[" * 3000), b'{"spec":{"token":"\xff"}}'):
            with self.assertRaises(DecodeError):
                self.reviews.record(ME, asked(TOKENS), b"who", JSON, body)

    def test_never(self) -> None:
        reviews = Reviews(0.0, lambda: self.now, self.clock)
        reviews.record(ME, asked(), b"may I", JSON, b"{}")
        self.assertEqual(reviews.answer(ME, asked(), b"may I").status, 503)
