from __future__ import annotations

import json

from cryptography.fernet import Fernet
from twisted.trial.unittest import SynchronousTestCase

from superedge.interfaces import Entry
from superedge.kube.errors import DecodeError
from superedge.kube.media import JSON, PROTOBUF
from superedge.kube.protobuf import envelope, split_envelope
from superedge.kube.request import parse_request
from superedge.kube.wire import field, number_field, walk
from superedge.liteapiserver.access.tokens import (
    MAX_BYTES,
    TokenCache,
    is_token_request,
    read_token,
    with_expiry,
)
from superedge.liteapiserver.cache.answers import Answer
from tests.liteapiserver.access.test_credentials import ACCOUNT, jwt

ME = "cert:system:node:edge-1"
TARGET = b"/api/v1/namespaces/default/serviceaccounts/web/token"
API = "authentication.k8s.io/v1"
PROMISED = 4600


def token_of(expires: int) -> str:
    return jwt(sub=ACCOUNT, exp=expires).split()[1].decode()


def in_json(token: str) -> bytes:
    status = {"token": token, "expirationTimestamp": "1970-01-01T01:16:40Z"}
    return json.dumps({"kind": "TokenRequest", "apiVersion": API, "spec": {}, "status": status}).encode()


def in_protobuf(token: str) -> bytes:
    status = field(1, token.encode()) + field(2, number_field(1, PROMISED) + b"\x10\x00")
    return envelope("TokenRequest", API, field(1, b"") + field(2, b"spec") + field(3, status))


class VaultTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 1000.0
        self.records: dict[tuple[str, tuple[str, ...]], bytes | None] = {}
        self.key = Fernet.generate_key()
        self.vault = self.make(self.key)

    def make(self, key: bytes) -> TokenCache:
        def commit(kind: str, key: tuple[str, ...], value: bytes | None) -> None:
            self.records[kind, key] = value

        return TokenCache(key, commit, lambda: self.now)

    def record(self, body: bytes, media_type: str = JSON, question: bytes = b"q", identity: str = ME) -> str:
        request = parse_request(b"POST", TARGET, media_type.encode())
        return self.vault.record(identity, request, question, media_type, body)

    def ask(self, media_type: str = JSON, question: bytes = b"q", identity: str = ME) -> Answer:
        return self.vault.answer(identity, parse_request(b"POST", TARGET, media_type.encode()), question)

    def test_the_same_request_gets_the_same_token(self) -> None:
        for media_type, make in ((JSON, in_json), (PROTOBUF, in_protobuf)):
            body = make(token_of(9000))
            self.record(body, media_type)
            answer = self.ask(media_type)
            self.assertEqual((answer.status, answer.body), (201, body))

    def test_any_other_request_gets_none(self) -> None:
        self.record(in_json(token_of(9000)))
        self.assertEqual(self.ask(question=b"for another pod").status, 503)
        self.assertEqual(self.ask(identity="cert:system:node:edge-2").status, 503)
        self.assertEqual(self.ask(PROTOBUF).status, 503)
        self.assertEqual(self.ask(f"{PROTOBUF},{JSON}").status, 201)

    def test_until_its_own_end_and_no_longer(self) -> None:
        token = token_of(9000)
        for media_type, make in ((JSON, in_json), (PROTOBUF, in_protobuf)):
            self.now = 1000.0
            self.record(make(token), media_type)
            for now, promised in ((5000.0, 5600.0), (8900.0, 9000.0)):
                self.now = now
                self.assertEqual(read_token(media_type, self.ask(media_type).body), (token, promised))
            self.now = 8995.0
            self.assertEqual(self.ask(media_type).status, 503)

    def test_another_time_changes_nothing_else(self) -> None:
        body = in_protobuf(token_of(9000))
        changed = with_expiry(PROTOBUF, body, 5000.0)
        parts = []
        for each in (body, changed):
            kind, api_version, raw = split_envelope(each)
            fields = {number: raw[a:b] for number, _, a, b in walk(raw)}
            parts.append((kind, api_version, sorted(fields), fields[2]))
        self.assertEqual(parts[0], parts[1])
        self.assertEqual(read_token(PROTOBUF, changed), (token_of(9000), 5000.0))

    def test_after_a_reboot_with_the_key_alone(self) -> None:
        token = token_of(9000)
        self.record(in_json(token))
        entries = [Entry(kind, key, value) for (kind, key), value in self.records.items() if value]
        self.assertNotIn(token.encode(), b"".join(entry.value for entry in entries))
        self.vault = self.make(self.key)
        self.vault.load([*entries, Entry("token", ("damaged",), b"?")])
        self.assertEqual(self.ask().status, 201)
        self.vault = self.make(Fernet.generate_key())
        self.vault.load(entries)
        self.assertEqual(self.ask().status, 503)

    def test_expired_ones_are_forgotten(self) -> None:
        self.record(in_json(token_of(2000)))
        self.now = 3000
        self.record(in_json(token_of(9000)), question=b"other")
        self.assertEqual(len([value for value in self.records.values() if value is None]), 1)

    def test_a_year_of_pods_that_come_and_go(self) -> None:
        """Each has a token that lives for a year; the newest stay, and those that are renewed."""
        year = 365 * 24 * 3600
        size, count = 20_000, 400

        def answer(number: int) -> bytes:
            return in_json(token_of(int(self.now) + year) + "A" * size)

        for number in range(count):
            self.now += 60
            for pod in (b"%d" % number, *([b"lasts"] if number % 50 == 0 else [])):
                self.record(answer(number), question=pod)
        held = {key for key, value in self.records.items() if value is not None}
        self.assertEqual(len(held), len(list(self.vault.tokens())))
        self.assertLess(len(held), MAX_BYTES // size)
        asked = [self.ask(question=pod).status for pod in (b"0", b"%d" % (count - 1), b"lasts")]
        self.assertEqual(asked, [503, 201, 201])

    def test_the_oldest_go_first_after_a_reboot_too(self) -> None:
        for number in range(280):
            status = {
                "token": token_of(99_000) + "A" * 20_000,
                "expirationTimestamp": f"{1980 + number}-01-01T00:00:00Z",
            }
            self.record(json.dumps({"status": status}).encode(), question=b"%d" % number)
        entries = [Entry(kind, key, value) for (kind, key), value in self.records.items() if value]
        self.vault = self.make(self.key)
        self.vault.load(reversed(entries))
        self.record(in_json(token_of(99_000) + "A" * 900_000), question=b"new")
        asked = [self.ask(question=pod).status for pod in (b"new", b"279", b"0")]
        self.assertEqual(asked, [201, 201, 503])

    def test_a_key_that_is_lost(self) -> None:
        self.record(in_json(token_of(9000)))
        entries = [Entry(kind, key, value) for (kind, key), value in self.records.items() if value]
        self.vault = self.make(Fernet.generate_key())
        self.vault.load(entries, readable=False)
        self.assertEqual(self.ask().status, 503)
        self.assertEqual(list(self.records.values()), [None])

    def test_answers_that_are_no_tokens(self) -> None:
        for media_type in (JSON, PROTOBUF, "text/plain"):
            for body in (b"", b"{}", b"k8s\0\xff", b'{"status":{"token":"x"}}', b"[" * 3000, b"\xff"):
                self.assertRaises(DecodeError, self.record, body, media_type)

    def test_which_requests(self) -> None:
        self.assertTrue(is_token_request(parse_request(b"POST", TARGET, b"")))
        self.assertFalse(is_token_request(parse_request(b"GET", TARGET, b"")))
        self.assertFalse(is_token_request(parse_request(b"POST", TARGET[:-6], b"")))
