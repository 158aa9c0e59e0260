"""A tunnel's session ends with its certificates, on whichever side they are."""

from __future__ import annotations

import time
from unittest.mock import patch

from superedge.tls.contexts import MAX_GRACE
from tests.tunnel.case import TunnelCase

YEAR = 365 * 86400.0


class CertificateTests(TunnelCase):
    async def later(self, seconds: float) -> None:
        """What a look at the files does when so much time has passed."""
        real = time.time
        for source in (self.cloud._tls, self.edge._tls):
            source._peers._now = lambda: real() + seconds
        self.watcher.check()

    async def test_a_session_ends_with_its_certificates(self) -> None:
        (before,) = self.edge._connections
        await self.later(YEAR - 3600)
        self.assertEqual(self.edge._connections, {before})
        with patch.object(self.cloud._tls, "end_expired"):
            await self.later(YEAR + MAX_GRACE)
            await self.until(lambda: before not in self.edge._connections)
        self.assertIn("expired at", before._ended or "", "the edge saw the cloud's certificate expire")

    async def test_a_session_ends_with_the_node_s_certificate(self) -> None:
        session = self.cloud.nodes.get("edge-1")
        assert session is not None
        (before,) = session.connections
        with patch.object(self.edge._tls, "end_expired"):
            await self.later(YEAR + 1)
            await self.until(lambda: not session.connections)
        self.assertIn("expired at", before._ended or "")
