from __future__ import annotations

import base64
import json

from twisted.trial.unittest import SynchronousTestCase

from superedge.interfaces import Entry
from superedge.liteapiserver.credentials import MAX_JUDGED, Credentials, Identified


def jwt(**claims: object) -> bytes:
    parts = [json.dumps(part).encode() for part in ({"alg": "RS256"}, claims)]
    encoded = [base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts]
    return b"Bearer " + b".".join([*encoded, b"c2lnbmF0dXJl"])


ACCOUNT = "system:serviceaccount:default:web"


def identify(authorization: bytes) -> Identified:
    return Credentials(lambda *_: None, lambda: 0.0).identify(authorization)


class IdentifyTests(SynchronousTestCase):
    def test_two_tokens_of_one_account_are_one_identity(self) -> None:
        one, other = jwt(sub=ACCOUNT, iss="k8s", exp=5), jwt(sub=ACCOUNT, iss="k8s", exp=9)
        self.assertEqual(identify(one)[0], f"token:{ACCOUNT}@k8s")
        self.assertEqual(identify(other)[0], identify(one)[0])
        self.assertNotEqual(identify(other)[1], identify(one)[1])

    def test_two_issuers_are_two_identities(self) -> None:
        self.assertNotEqual(identify(jwt(sub=ACCOUNT, iss="a"))[0], identify(jwt(sub=ACCOUNT, iss="b"))[0])

    def test_no_subject_reads_as_another_with_an_issuer(self) -> None:
        one, other = jwt(sub="a@b", iss="c"), jwt(sub="a", iss="b@c")
        self.assertNotEqual(identify(one).name, identify(other).name)
        self.assertNotEqual(identify(jwt(sub="a%40b")).name, identify(jwt(sub="a@b")).name)

    def test_what_is_no_jwt_is_known_by_its_hash(self) -> None:
        for header in (
            b"Bearer abcdef",
            b"Basic YTpi",
            b"Bearer a.b.c",
            b"",
            b"Bearer \xff.\xff.\xff",
            b"Bearer",
            jwt(iss="x"),
        ):
            name, digest, expires = identify(header)
            self.assertEqual((name, expires), (f"credential:{digest}", None))
            self.assertNotIn("abcdef", name)

    def test_the_token_is_what_the_api_server_takes(self) -> None:
        token = jwt(sub=ACCOUNT, iss="k8s").split()[1]
        for header in (b"bearer " + token, b" Bearer " + token + b" ", b"Bearer " + token + b" more"):
            self.assertEqual(identify(header).name, f"token:{ACCOUNT}@k8s", header)
        for header in (
            b"Bearer  " + token,  # none: the client is anonymous in the cloud, whatever it wrote
            b"Bearer\t" + token,
            b"Basic " + token,
            b"Bearer secret " + token,
            b"Bearer secret," + token,  # two headers, of which the first counts
            b"Bearer " + token + b",Bearer " + token,
            b"Bearer !" + token,
            b"Bearer " + token + b"=",
        ):
            self.assertTrue(identify(header).name.startswith("credential:"), header)


class CredentialsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 1000.0
        self.records: dict[tuple[str, tuple[str, ...]], bytes | None] = {}
        self.credentials = self.make()

    def make(self) -> Credentials:
        def commit(kind: str, key: tuple[str, ...], value: bytes | None) -> None:
            self.records[kind, key] = value

        return Credentials(commit, lambda: self.now)

    def test_only_what_the_cloud_accepted(self) -> None:
        token = jwt(sub=ACCOUNT, exp=2000)
        self.assertFalse(self.credentials.is_accepted(token))
        self.credentials.accepted(token)
        self.assertTrue(self.credentials.is_accepted(token))
        forged = jwt(sub=ACCOUNT, exp=9999)
        self.assertFalse(self.credentials.is_accepted(forged))

    def test_until_it_expires(self) -> None:
        token = jwt(sub=ACCOUNT, exp=2000)
        self.credentials.accepted(token)
        self.now = 2000
        self.assertFalse(self.credentials.is_accepted(token))
        self.credentials.accepted(b"Bearer another")
        self.assertEqual([value for value in self.records.values() if value is None], [None])

    def test_until_the_cloud_refuses_it(self) -> None:
        self.credentials.accepted(b"Bearer static")
        self.credentials.refused(b"Bearer static")
        self.credentials.refused(b"Bearer never seen")
        self.assertFalse(self.credentials.is_accepted(b"Bearer static"))

    def test_after_a_reboot(self) -> None:
        token = jwt(sub=ACCOUNT, exp=2000)
        self.credentials.accepted(token)
        entries = [Entry(kind, key, value) for (kind, key), value in self.records.items() if value]
        damaged = (identify(b"Bearer damaged").digest,)
        entries.append(Entry("bearer", damaged, b"?"))
        again = self.make()
        again.restore(entries)
        self.assertTrue(again.is_accepted(token))
        self.assertFalse(again.is_accepted(b"Bearer damaged"))
        self.assertIsNone(self.records["bearer", damaged])
        self.assertNotIn(token.split()[1], b"".join(entry.value for entry in entries))

    def test_many_that_never_expire(self) -> None:
        """What is in use is believed, however many others came since it was first accepted."""
        for number in range(MAX_JUDGED + 1000):
            self.credentials.accepted(b"Bearer opaque-%d" % number)
            self.credentials.accepted(b"Bearer in use")
        held = [value for value in self.records.values() if value is not None]
        self.assertEqual(len(held), MAX_JUDGED)
        asked = [b"Bearer opaque-0", b"Bearer opaque-%d" % (MAX_JUDGED + 999), b"Bearer in use"]
        self.assertEqual([self.credentials.is_accepted(each) for each in asked], [False, True, True])

    def test_a_token_made_for_a_pod(self) -> None:
        token = jwt(sub=ACCOUNT, exp=2000)
        self.credentials.issued(token.split()[1].decode())
        self.assertTrue(self.credentials.is_accepted(token))
