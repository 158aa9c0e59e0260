"""Voters with certificates of one authority, for tests of ballots."""

from __future__ import annotations

from pathlib import Path

from superedge.health.votes.ballot import Ballot, Opinion, Row, SignedBallot
from superedge.health.votes.signing import Signer, Verifier
from superedge.tap.edgehealth import Voters as NodesAlone
from superedge.tls.authority import Authority
from superedge.tunnel.names import NameRules

NODES = NodesAlone(NameRules(strict=True))
NOW = 1_900_000_000_000
LIFE = 35_000


def ballot(
    voter: str,
    rows: dict[str, Opinion] | None = None,
    *,
    unit: str = "shop",
    sequence: int = 1,
    issued: int = NOW,
    life: int = LIFE,
    age: int = 0,
) -> Ballot:
    """A ballot with these opinions."""
    said = tuple(
        Row(peer, opinion, 100 if opinion is Opinion.HEALTHY else 0, age)
        for peer, opinion in sorted((rows or {}).items())
    )
    return Ballot(1, voter, unit, sequence, issued, issued + life, said)


class Voters:
    """Signers by name; certificates are good around the real time."""

    def __init__(self, directory: Path, *names: str) -> None:
        self.directory = directory
        self.authority = Authority.create(directory)
        self.signers = {name: self.signer(name) for name in names}

    def signer(self, name: str, authority: Authority | None = None) -> Signer:
        pair = (authority or self.authority).issue(
            f"system:node:{name}", ["system:nodes"], directory=self.directory, name=name
        )
        return Signer(pair.certificate, pair.key)

    def verifier(self, limit: int = 1024) -> Verifier:
        return Verifier([self.authority.path], NODES, limit)

    def sign(self, ballot: Ballot, by: str = "") -> SignedBallot:
        return self.signers[by or ballot.voter].sign(ballot)
