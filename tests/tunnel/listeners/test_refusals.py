"""Every cause has its status, and no cause breaks out of its line."""

from __future__ import annotations

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from superedge.tunnel.errors import DialCode
from superedge.tunnel.listeners.refusals import STATUS, refusal


class RefusalTests(SynchronousTestCase):
    def test_every_cause_has_a_status(self) -> None:
        self.assertEqual(set(STATUS), set(get_args(DialCode)))
        self.assertNotIn(200, STATUS.values())
        self.assertEqual(
            [STATUS[code] for code in ("denied", "refused", "not-connected", "timeout")],
            [403, 502, 503, 504],
        )

    def test_refusal(self) -> None:
        self.assertEqual(
            refusal(502, "refused: nobody listens"),
            b"HTTP/1.1 502 refused: nobody listens\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        )

    @given(st.text(max_size=400))
    def test_a_cause_cannot_break_out_of_its_line(self, reason: str) -> None:
        answer = refusal(503, reason)
        self.assertEqual(answer.count(b"\r\n"), 4)
        self.assertEqual(answer.count(b"\n"), 4)
        self.assertLess(len(answer), 400)
