from __future__ import annotations

import json
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from superedge.liteapiserver.access.credentials import Credentials
from superedge.liteapiserver.upstream.tokenreviewer import (
    MAX_IN_FLIGHT,
    MAX_IN_FLIGHT_EACH,
    TokenReviewer,
)
from tests.liteapiserver.tokens import encode


def token(**claims: object) -> str:
    return f"e30.{encode(json.dumps(claims).encode())}.x"


class Slow(TokenReviewer):
    """Its reviews never end."""

    def __init__(self) -> None:
        credentials = Credentials(lambda kind, key, value: None, lambda: 0.0)
        super().__init__(Clock(), credentials, b"cloud", cast(Any, None))
        self.begun: list[str] = []

    async def _review(self, token: str, digest: str) -> None:
        self.begun.append(token)
        await Deferred()


class TokenReviewerTests(SynchronousTestCase):
    def test_one_identity_leaves_room_for_others(self) -> None:
        reviewer = Slow()
        self.addCleanup(reviewer.stop)
        for number in range(20):
            reviewer.review(token(sub="attacker", jti=number))
        self.assertEqual(len(reviewer.begun), MAX_IN_FLIGHT_EACH)
        other = token(sub="other")
        reviewer.review(other)
        self.assertEqual(reviewer.begun[MAX_IN_FLIGHT_EACH:], [other])

    def test_tokens_that_nobody_checked_leave_room_for_others(self) -> None:
        reviewer = Slow()
        self.addCleanup(reviewer.stop)
        for number in range(20):
            reviewer.review(token(sub=f"made up {number}"), checked=False)
        self.assertEqual(len(reviewer.begun), MAX_IN_FLIGHT_EACH)
        for number in range(2):
            reviewer.review(token(sub=f"other {number}"))
        self.assertEqual(len(reviewer.begun), MAX_IN_FLIGHT)
