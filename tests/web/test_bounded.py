from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.web.bounded import BoundedBody


class BoundedBodyTests(SynchronousTestCase):
    @given(st.lists(st.binary(max_size=5), max_size=10))
    def test_what_was_added_unless_it_is_too_long(self, chunks: list[bytes]) -> None:
        body = BoundedBody(12)
        whole = b"".join(chunks)
        for number, piece in enumerate(chunks):
            short = len(b"".join(chunks[: number + 1])) <= 12
            self.assertEqual(body.add(piece), short)
        self.assertEqual(body.value, whole if len(whole) <= 12 else None)
