from __future__ import annotations

import base64
import json

from twisted.trial.unittest import SynchronousTestCase

from superedge.interfaces import Entry
from superedge.liteapiserver.access.credentials import MAX_VERDICTS, Credentials, TokenIdentity


def jwt(**claims: object) -> bytes:
    parts = [json.dumps(part).encode() for part in ({"alg": "RS256"}, claims)]
    encoded = [base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts]
    return b"Bearer " + b".".join([*encoded, b"c2lnbmF0dXJl"])


ACCOUNT = "system:serviceaccount:default:web"


def token(**claims: object) -> str:
    return jwt(**claims).split()[1].decode()


def identify(text: str) -> TokenIdentity:
    return Credentials(lambda *_: None, lambda: 0.0).identify(text)


class IdentifyTests(SynchronousTestCase):
    def test_two_tokens_of_one_account_are_one_identity(self) -> None:
        one, other = token(sub=ACCOUNT, iss="k8s", exp=5), token(sub=ACCOUNT, iss="k8s", exp=9)
        self.assertEqual(identify(one).name, f"token:{ACCOUNT}@k8s")
        self.assertEqual(identify(other).name, identify(one).name)
        self.assertNotEqual(identify(other).digest, identify(one).digest)

    def test_two_issuers_are_two_identities(self) -> None:
        one, other = token(sub=ACCOUNT, iss="a"), token(sub=ACCOUNT, iss="b")
        self.assertNotEqual(identify(one).name, identify(other).name)

    def test_no_subject_reads_as_another_with_an_issuer(self) -> None:
        one, other = token(sub="a@b", iss="c"), token(sub="a", iss="b@c")
        self.assertNotEqual(identify(one).name, identify(other).name)
        self.assertNotEqual(identify(token(sub="a%40b")).name, identify(token(sub="a@b")).name)

    def test_what_names_nobody_is_known_by_its_hash(self) -> None:
        good = token(sub=ACCOUNT, iss="k8s")
        for text in ("abcdef", "a.b.c", token(iss="x"), f"!{good}", f"{good}=", f"secret,{good}"):
            name, digest, _, expires = identify(text)
            self.assertEqual((name, expires), (f"credential:{digest}", None))
            self.assertNotIn("abcdef", name)

    def test_names_are_of_bounded_length(self) -> None:
        for claims in ({"sub": "a" * 5000}, {"sub": "a", "iss": "b" * 5000}):
            self.assertTrue(identify(token(**claims)).name.startswith("credential:"))


class CredentialsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 1000.0
        self.records: dict[tuple[str, tuple[str, ...]], bytes | None] = {}
        self.credentials = self.make()

    def make(self) -> Credentials:
        def commit(kind: str, key: tuple[str, ...], value: bytes | None) -> None:
            self.records[kind, key] = value

        return Credentials(commit, lambda: self.now)

    def believes(self, text: str) -> bool:
        return not self.credentials.rejection(text)

    def test_only_what_the_cloud_accepted(self) -> None:
        good = token(sub=ACCOUNT, exp=2000)
        self.assertFalse(self.believes(good))
        self.credentials.accept(good, ACCOUNT)
        self.assertTrue(self.believes(good))
        self.assertFalse(self.believes(token(sub=ACCOUNT, exp=9999)))

    def test_of_nobody_else(self) -> None:
        """The cloud saw no token, or another account's than the claims say."""
        good = token(sub=ACCOUNT, exp=2000)
        for username in ("", "system:anonymous", "bob", f"{ACCOUNT}2"):
            self.assertFalse(self.credentials.accept(good, username))
            self.assertFalse(self.believes(good))
        alice = token(sub="alice", iss="https://login", exp=2000)
        self.assertTrue(self.credentials.accept(alice, "oidc:alice"))
        self.assertTrue(self.believes(alice))

    def test_until_it_expires(self) -> None:
        good = token(sub=ACCOUNT, exp=2000)
        self.credentials.accept(good, ACCOUNT)
        self.now = 2000
        self.assertEqual(self.credentials.rejection(good), "the token expired at 1970-01-01T00:33:20Z")
        self.credentials.accept("another", "a")
        self.assertEqual([value for value in self.records.values() if value is None], [None])

    def test_expiries_that_no_calendar_has(self) -> None:
        self.assertIn("expired", self.credentials.rejection(token(sub=ACCOUNT, exp=-1e300)))
        self.now = 1e300
        self.assertIn("expired", self.credentials.rejection(token(sub=ACCOUNT, exp=1e299)))

    def test_until_the_cloud_refuses_it(self) -> None:
        self.credentials.accept("static", "a")
        self.credentials.reject("static")
        self.credentials.reject("never seen")
        self.assertIn("refused", self.credentials.rejection("static"))
        self.assertIn("never took", self.credentials.rejection("never seen"))
        self.assertEqual(len(self.records), 1)

    def test_after_a_reboot(self) -> None:
        good, bad = token(sub=ACCOUNT, exp=2000), token(sub=ACCOUNT, exp=3000)
        for each in (good, bad):
            self.credentials.accept(each, ACCOUNT)
        self.credentials.reject(bad)
        entries = [Entry(kind, key, value) for (kind, key), value in self.records.items() if value]
        damaged = (identify("damaged").digest,)
        entries.append(Entry("bearer", damaged, b"?"))
        entries.append(Entry("bearer", (), entries[0].value))  # of another version
        self.credentials = self.make()
        self.credentials.load(entries)
        self.assertTrue(self.believes(good))
        self.assertIn("refused", self.credentials.rejection(bad))
        self.assertFalse(self.believes("damaged"))
        self.assertIsNone(self.records["bearer", damaged])
        self.assertNotIn(good.encode(), b"".join(entry.value for entry in entries))

    def test_many_that_never_expire(self) -> None:
        """Of one who has many the oldest give way, and nobody else's."""
        self.credentials.accept("static", "a")
        for number in range(MAX_VERDICTS + 1000):
            self.credentials.accept(token(sub=ACCOUNT, jti=number), ACCOUNT)
        held = [value for value in self.records.values() if value is not None]
        self.assertEqual(len(held), MAX_VERDICTS)
        asked = [token(sub=ACCOUNT, jti=0), token(sub=ACCOUNT, jti=MAX_VERDICTS + 999), "static"]
        self.assertEqual([self.believes(each) for each in asked], [False, True, True])
