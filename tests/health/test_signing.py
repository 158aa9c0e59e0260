from __future__ import annotations

import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from twisted.trial.unittest import SynchronousTestCase

from superedge.errors import IdentityError
from superedge.health.votes import signing
from superedge.health.votes.ballot import Ballot, Opinion, Refused, SignedBallot
from superedge.health.votes.ballotbox import ALLOWANCE, BallotBox
from superedge.tls.authority import Authority
from tests.health.voters import LIFE, Voters, ballot

NOW = int(time.time() * 1000)


def made(voter: str, **fields: object) -> Ballot:
    return ballot(voter, {"edge-9": Opinion.HEALTHY}, **{"issued": NOW, **fields})  # type: ignore[arg-type]


class Case(SynchronousTestCase):
    def setUp(self) -> None:
        self.voters = Voters(Path(self.mktemp()), "edge-1", "edge-2")
        self.verifier = self.voters.verifier()
        for signer in self.voters.signers.values():
            self.verifier.learn(signer.chain, NOW)

    def refused(self, *arguments: object, by: object = None) -> str:
        problem: Refused = self.assertRaises(Refused, by or self.verifier.check, *arguments)
        return problem.reason


class SigningTests(Case):
    def test_its_own_signature(self) -> None:
        self.assertEqual(self.verifier.check(self.voters.sign(made("edge-1")), NOW), made("edge-1"))

    def test_a_node_speaks_as_itself_alone(self) -> None:
        self.assertEqual(self.refused(self.voters.sign(made("edge-1"), by="edge-2"), NOW), "identity")

    def test_a_changed_ballot(self) -> None:
        one, other = self.voters.sign(made("edge-1")), self.voters.sign(made("edge-1", sequence=2))
        self.assertEqual(self.refused(SignedBallot(other.body, one.signature, one.key), NOW), "signature")
        self.assertEqual(self.refused(SignedBallot(one.body, b"", one.key), NOW), "signature")
        self.assertEqual(self.refused(SignedBallot(one.body, one.signature[:-1], one.key), NOW), "signature")

    def test_a_signature_for_something_else_is_none(self) -> None:
        signer = self.voters.signers["edge-1"]
        bare = signer._sign(self.voters.sign(made("edge-1")).body)
        signed = self.voters.sign(made("edge-1"))
        self.assertEqual(self.refused(SignedBallot(signed.body, bare, signed.key), NOW), "signature")

    def test_a_certificate_that_was_not_shown(self) -> None:
        stranger = self.voters.signer("edge-3")
        self.assertEqual(self.refused(stranger.sign(made("edge-3")), NOW), "unknown-certificate")

    def test_certificates_of_another_authority_or_of_no_node(self) -> None:
        directory = Path(self.mktemp())
        foreign = self.voters.signer("edge-1", Authority.create(directory))
        self.assertEqual(self.refused(foreign.chain, NOW, by=self.verifier.learn), "identity")
        pair = self.voters.authority.issue("system:admin", directory=directory, name="admin")
        admin = signing.Signer(pair.certificate, pair.key)
        self.assertEqual(self.refused(admin.chain, NOW, by=self.verifier.learn), "identity")
        self.assertEqual(self.refused([b"nonsense"], NOW, by=self.verifier.learn), "identity")
        self.assertEqual(self.refused([], NOW, by=self.verifier.learn), "identity")
        self.assertEqual(self.refused([b"x" * 20_000], NOW, by=self.verifier.learn), "identity")

    def test_a_certificate_that_is_over(self) -> None:
        year = 366 * 24 * 3600 * 1000
        chain = self.voters.signers["edge-1"].chain
        self.assertEqual(self.refused(chain, NOW + year, by=self.verifier.learn), "identity")
        self.assertEqual(self.refused(self.voters.sign(made("edge-1")), NOW + year), "identity")

    def test_a_certificate_that_begins_in_a_moment(self) -> None:
        """It is shown once."""
        chain = self.voters.signers["edge-1"].chain
        begin = int(x509.load_der_x509_certificate(chain[0]).not_valid_before_utc.timestamp()) * 1000
        verifier = self.voters.verifier()
        self.assertEqual(verifier.learn(chain, begin - 2000), "edge-1")
        signed = self.voters.sign(made("edge-1"))
        self.assertEqual(self.refused(signed, begin - 1, by=verifier.check), "identity")
        self.assertEqual(verifier.check(signed, begin), made("edge-1"))

    def test_times_that_no_calendar_has(self) -> None:
        late = 253_402_300_800_000
        chain = self.voters.signers["edge-1"].chain
        self.assertEqual(self.refused(self.voters.sign(made("edge-1")), late), "identity")
        self.assertEqual(self.refused(chain, late, by=self.verifier.learn), "identity")

    def test_half_of_a_renewed_pair_is_not_used(self) -> None:
        signer, before = self.voters.signers["edge-1"], self.voters.directory / "edge-1.crt"
        pair = self.voters.authority.issue(
            "system:node:edge-1", ["system:nodes"], directory=self.voters.directory, name="new"
        )
        self.assertRaises(IdentityError, signer.load, pair.certificate, before.with_suffix(".key"))
        self.assertEqual(self.verifier.check(self.voters.sign(made("edge-1")), NOW), made("edge-1"))
        signer.load(pair.certificate, pair.key)
        self.assertEqual(self.verifier.learn(signer.chain, NOW), "edge-1")
        self.assertEqual(self.verifier.check(self.voters.sign(made("edge-1")), NOW), made("edge-1"))

    def test_certificates_of_old_are_forgotten_for_new_ones(self) -> None:
        verifier = self.voters.verifier(limit=1)
        one, two = (self.voters.signers[name] for name in ("edge-1", "edge-2"))
        verifier.learn(one.chain, NOW)
        verifier.learn(two.chain, NOW)
        self.assertNotIn(signing.key_id(one.chain[0]), verifier._known)
        self.assertIn(signing.key_id(two.chain[0]), verifier._known)

    def test_other_kinds_of_keys(self) -> None:
        for private in (rsa.generate_private_key(65537, 2048), ed25519.Ed25519PrivateKey.generate()):
            sign = signing._signing(Path("k"), private)
            self.assertTrue(signing._signed(private.public_key(), sign(b"data"), b"data"))
            self.assertFalse(signing._signed(private.public_key(), sign(b"data"), b"other"))

    def test_files_that_are_no_pair(self) -> None:
        path = Path(self.mktemp())
        path.write_text("no PEM")
        self.assertRaises(IdentityError, signing.Signer, path, path)
        self.assertRaises(IdentityError, signing.Signer, Path("/nowhere"), path)


class BallotBoxTests(Case):
    def setUp(self) -> None:
        super().setUp()
        self.box = BallotBox(self.verifier, {"edge-1": "shop", "edge-2": "mill"}.get)

    def take(self, item: Ballot, now: int = NOW) -> Ballot | None:
        return self.box.take(self.voters.sign(item), now)

    def test_it_counts_until_it_expires(self) -> None:
        self.take(made("edge-1"))
        self.assertIsNotNone(self.box.get("edge-1", NOW + LIFE - 1))
        self.assertIsNone(self.box.get("edge-1", NOW + LIFE))
        self.assertEqual(list(self.box.current(NOW + LIFE)), [])

    def test_a_clock_ahead_gives_no_longer_life(self) -> None:
        self.take(made("edge-1", issued=NOW + ALLOWANCE))
        self.assertIsNotNone(self.box.get("edge-1", NOW + LIFE - 1))
        self.assertIsNone(self.box.get("edge-1", NOW + LIFE))

    def test_what_is_refused(self) -> None:
        self.take(made("edge-1", sequence=5))
        cases = {
            "replayed": made("edge-1", sequence=4),
            "foreign": made("edge-2"),
            "future": made("edge-1", sequence=6, issued=NOW + ALLOWANCE + 1),
            "expired": made("edge-1", sequence=6, issued=NOW - LIFE),
        }
        for reason, item in cases.items():
            self.assertEqual(self.refused(self.voters.sign(item), NOW, by=self.box.take), reason)
        self.assertEqual(self.box.get("edge-1", NOW), made("edge-1", sequence=5))

    def test_one_number_is_one_ballot(self) -> None:
        signed = self.voters.sign(made("edge-1"))
        self.assertIsNotNone(self.box.take(signed, NOW))
        self.assertIsNone(self.box.take(signed, NOW))
        other = self.voters.sign(ballot("edge-1", {"edge-9": Opinion.UNHEALTHY}, issued=NOW))
        self.assertEqual(self.refused(other, NOW, by=self.box.take), "replayed")

    def test_a_replay_is_refused_even_when_the_ballot_before_has_expired(self) -> None:
        self.take(made("edge-1", sequence=5, issued=NOW - LIFE + 1))
        old = self.voters.sign(made("edge-1", sequence=4))
        self.assertEqual(self.refused(old, NOW + 1000, by=self.box.take), "replayed")
        self.assertEqual(self.box.last("edge-1"), 5)

    def test_voters_that_left_are_forgotten(self) -> None:
        self.take(made("edge-1"))
        self.box.forget(lambda voter: voter != "edge-1")
        self.assertEqual(self.box.last("edge-1"), 0)
