from __future__ import annotations

import os
import stat
import time
from functools import partial
from pathlib import Path

from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import provider

from superedge.interfaces import Entry
from superedge.kube.errors import DecodeError
from superedge.liteapiserver.access.credentials import MAX_VERDICTS, Credentials
from superedge.liteapiserver.access.issuer import CONFIGURATION, KEYS, Issuer
from superedge.liteapiserver.access.jwt import TokenError
from superedge.liteapiserver.access.seal import Seal
from tests.liteapiserver.access.test_credentials import token as unsigned
from tests.liteapiserver.access.test_tokens import in_json
from tests.liteapiserver.cache.driver import list_of, pod
from tests.liteapiserver.test_offline import TOKEN, OfflineTestCase
from tests.liteapiserver.test_proxying import PODS
from tests.liteapiserver.tokens import ACCOUNT, ISSUER, Signer, configuration, encode, key_set
from tests.liteapiserver.world import JSON, Seen, until

OLD, NEW = Signer(kid="old"), Signer("ES256", "new")


class IssuerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 1000.0
        self.records: dict[tuple[str, tuple[str, ...]], bytes] = {}
        self.issuer, self.credentials = self.make()

    def commit(self, kind: str, key: tuple[str, ...], value: bytes | None) -> None:
        if value is None:
            self.records.pop((kind, key), None)
        else:
            self.records[kind, key] = value

    def make(self, *audiences: str) -> tuple[Issuer, Credentials]:
        def changed() -> None:
            credentials.keys_changed()

        issuer = Issuer(audiences, self.commit, lambda: self.now, changed)
        credentials = Credentials(self.commit, lambda: self.now, issuer)
        return issuer, credentials

    def believes(self, token: str) -> bool:
        return not self.credentials.rejection(token)

    def test_nothing_is_believed_without_keys(self) -> None:
        self.assertFalse(self.believes(OLD.token()))

    def test_until_it_expires(self) -> None:
        self.issuer.update(configuration(), key_set(OLD))
        self.assertTrue(self.believes(OLD.token()))
        self.now = 2000.0
        self.assertFalse(self.believes(OLD.token()))
        self.assertFalse(self.believes(NEW.token()))

    def test_keys_that_are_rotated(self) -> None:
        self.issuer.update(configuration(), key_set(OLD))
        self.assertTrue(self.believes(OLD.token()))
        self.issuer.update(configuration(), key_set(OLD, NEW))
        self.assertTrue(self.believes(OLD.token()) and self.believes(NEW.token()))
        self.issuer.update(configuration(), key_set(NEW))
        self.assertFalse(self.believes(OLD.token()))

    def test_after_a_reboot(self) -> None:
        self.issuer.update(configuration(), key_set(OLD))
        entries = [Entry(kind, key, value) for (kind, key), value in self.records.items()]
        self.issuer, self.credentials = self.make()
        self.issuer.load([*entries, Entry("object", ("x",), b"")])
        self.assertTrue(self.believes(OLD.token()))
        self.issuer, _ = self.make()
        self.issuer.load([Entry("issuer", ("service-account",), b"damaged")])
        self.assertEqual((self.issuer.name, self.records), ("", {}))

    def test_what_the_cloud_refused_is_not_believed(self) -> None:
        self.issuer.update(configuration(), key_set(OLD))
        token = OLD.token()
        for before in (lambda: False, lambda: self.credentials.accept(token, ACCOUNT)):
            before()
            self.credentials.reject(token)
            self.assertFalse(self.believes(token))
        entries = [Entry(kind, key, value) for (kind, key), value in self.records.items()]
        self.issuer, self.credentials = self.make()
        self.issuer.load(entries)
        self.credentials.load(entries)
        self.assertFalse(self.believes(token))
        self.credentials.accept(token, ACCOUNT)
        self.assertTrue(self.believes(token))

    def test_what_was_refused_before_the_keys_were_known(self) -> None:
        token = OLD.token()
        self.credentials.reject(token)
        self.issuer.update(configuration(), key_set(OLD))
        self.assertFalse(self.believes(token))
        self.assertTrue(self.believes(OLD.token(jti="another")))

    def test_refused_tokens_push_out_no_accepted_ones(self) -> None:
        self.credentials.accept("static", "somebody")
        for number in range(MAX_VERDICTS + 10):
            self.credentials.reject(unsigned(sub=f"x-{number}", exp=5000))
        self.assertTrue(self.believes("static"))
        self.assertEqual(len(self.records), MAX_VERDICTS)

    def test_claims_that_are_no_text_and_json_without_end(self) -> None:
        self.issuer.update(configuration(), key_set(OLD))
        head, _, signature = OLD.token().split(".")
        deep, long = b"[" * 3000 + b"]" * 3000, b"9" * 5000
        for claims in (
            b'{"sub":"\xff","iss":"%b","exp":5000}' % ISSUER.encode(),
            b'{"sub":"a","iss":"%b\xff","exp":5000}' % ISSUER.encode(),
            b'{"sub":"a","x":%b}' % deep,
            b'{"sub":"a","iss":"%b","exp":%b}' % (ISSUER.encode(), long),
        ):
            for token in (
                f"{head}.{encode(claims)}.{signature}",
                f"{encode(claims)}.{encode(claims)}.{signature}",
            ):
                self.assertTrue(self.credentials.identify(token).name.startswith("credential:"))
                self.assertFalse(self.believes(token))
                self.credentials.reject(token)

    def test_refused_garbage_is_not_remembered(self) -> None:
        self.issuer.update(configuration(), key_set(OLD))
        before = dict(self.records)
        for number in range(5):
            self.credentials.reject(str(number))
            self.credentials.reject(NEW.token(exp=5000 + number))
        self.assertEqual(self.records, before)

    def test_a_name_that_is_claimed(self) -> None:
        """A token that another authenticator of the cloud accepts may say anything."""
        forged = NEW.token()
        true, renewed = (OLD.token(jti=jti) for jti in ("1", "2"))
        self.issuer.update(configuration(), key_set(OLD))
        name = self.credentials.identify(true).name
        self.assertEqual(name, f"token:{ACCOUNT}@{ISSUER}")
        self.assertEqual(self.credentials.identify(renewed).name, name)
        self.assertTrue(self.credentials.identify(forged).name.startswith("credential:"))
        elsewhere = NEW.token(iss="https://login.example")
        self.assertEqual(self.credentials.identify(elsewhere).name, f"token:{ACCOUNT}@https://login.example")
        self.issuer.update(configuration(), key_set(NEW))
        self.assertEqual(self.credentials.identify(forged).name, name)

    def test_audiences(self) -> None:
        self.issuer, _ = self.make("api", "vault")
        self.issuer.update(configuration(), key_set(OLD))
        self.assertEqual(self.issuer.verify(OLD.token(aud=["vault"])).sub, ACCOUNT)
        with self.assertRaises(TokenError):
            self.issuer.verify(OLD.token(aud=[ISSUER]))

    def test_documents_that_are_something_else(self) -> None:
        self.issuer.update(configuration(), key_set(OLD))
        for one, other in (
            (b"<html>", key_set(NEW)),
            (configuration(), b"<html>"),
            (configuration(""), key_set(NEW)),
            (b"{}", key_set(NEW)),
            (configuration(), b'{"keys":[{}]}'),
        ):
            with self.assertRaises(DecodeError):
                self.issuer.update(one, other)
        self.assertTrue(self.believes(OLD.token()))


class OfflineBearerTests(OfflineTestCase):
    """The keys are fetched while the cloud is there, and tell forged tokens from true ones when it is not."""

    def bearer(self, signer: Signer, **claims: object) -> list[tuple[bytes, bytes]]:
        claims = {"exp": time.time() + 600, "nbf": time.time() - 1, **claims}
        return [(b"Authorization", b"Bearer " + signer.token(None, **claims).encode())]

    async def fetched(self) -> None:
        self.upstream.serve(CONFIGURATION.encode(), configuration())
        self.upstream.serve(KEYS.encode(), key_set(OLD))
        assert self.world.lite is not None
        self.world.lite._issuer_keys._next = 0.0
        await until(
            lambda: self.world.lite is not None and self.world.lite.status()["token_issuer"] == ISSUER
        )

    async def test_a_token_that_the_cloud_never_saw(self) -> None:
        await self.fetched()
        self.upstream.serve(PODS.encode(), list_of([pod("a", 3)], 9))
        answer = await self.world.ask("GET", PODS, self.bearer(OLD))
        self.assertEqual(answer.status, 200)
        await self.world.stop_lite()
        self.upstream.stop()
        await self.world.start_lite()
        renewed = self.bearer(OLD, jti="another")
        self.assertEqual(self.names(await self.world.ask("GET", PODS, renewed)), ["a"])
        for headers, wanted in (
            (self.bearer(NEW), 401),
            (self.bearer(Signer(kid="old")), 401),
            (self.bearer(OLD, exp=time.time() - 1), 401),
            (self.bearer(OLD, sub="system:serviceaccount:default:other"), 503),  # true, but another's cache
            ([], 503),  # anonymous has read nothing
        ):
            self.assertEqual((await self.world.ask("GET", PODS, headers)).status, wanted)

    async def test_no_identity_may_read_the_keys(self) -> None:
        for path in (CONFIGURATION, KEYS):
            self.upstream.serve(path.encode(), b"{}", 403)
        await self.world.go_offline()
        self.assertEqual((await self.world.ask("GET", PODS, self.bearer(OLD))).status, 401)

    async def test_the_second_identity_may(self) -> None:
        self.upstream.serve(KEYS.encode(), key_set(OLD))

        def for_the_node(seen: Seen) -> None:
            body = configuration() if seen.name else b"{}"
            seen.request.respond(200 if seen.name else 403, list(JSON), body)

        self.upstream.answers[CONFIGURATION.encode()] = for_the_node
        assert self.world.lite is not None
        self.world.lite._issuer_keys._next = 0.0
        await until(
            lambda: self.world.lite is not None and self.world.lite.status()["token_issuer"] == ISSUER
        )


class KeyFileTests(OfflineTestCase):
    async def test_everything_on_disk_is_for_the_owner_alone(self) -> None:
        await self.remember("a")
        await self.world.stop_lite()
        paths = [
            Path(top, name) for top, _, names in os.walk(self.world.directory / "cache") for name in names
        ]
        self.assertTrue({"token.key", "journal", "lock"} <= {path.name for path in paths})
        self.assertEqual({stat.S_IMODE(path.stat().st_mode) for path in paths}, {0o600})

    async def start_again(self) -> None:
        await self.world.stop_lite()
        self.upstream.stop()
        await self.world.start_lite()
        await until(lambda: self.world.state == "offline")

    async def test_a_damaged_key_costs_the_sealed_tokens_alone(self) -> None:
        await self.remember("a")
        answer = in_json(unsigned(sub=ACCOUNT, exp=99_999_999_999))
        self.upstream.serve(TOKEN.encode(), answer, 201)
        await self.world.ask("POST", TOKEN, body=b"{}", identity=self.world.node)
        await self.world.stop_lite()
        key = self.world.directory / "cache" / "token.key"
        for content in (b"\xff not base64 \n", b"", b"c2hvcnQ=", b"A" * 1_000_000):
            key.write_bytes(content)
            messages = capture(self)
            await self.start_again()
            self.assertEqual([each.count("token.key") for each in messages if "token.key" in each], [1])
            await self.check_cached()
            asked = await self.world.ask("POST", TOKEN, body=b"{}", identity=self.world.node)
            self.assertEqual(asked.status, 503)
            await self.world.stop_lite()
            Seal(key.read_bytes())

    async def test_a_key_that_is_no_file(self) -> None:
        await self.remember("a")
        await self.world.stop_lite()
        key = self.world.directory / "cache" / "token.key"
        for make in (key.mkdir, partial(os.mkfifo, key)):
            key.rmdir() if key.is_dir() else key.unlink()
            make()
            await self.start_again()
            await self.check_cached()
            await self.world.stop_lite()


def capture(case: TestCase) -> list[str]:
    """What is logged from here on, until the test ends."""
    messages: list[str] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        messages.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    case.addCleanup(lambda: globalLogPublisher.removeObserver(observe))
    return messages
