"""Every TLS context of a process is looked after: its files, and the certificates of who is connected."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from superedge.config.load import convert
from superedge.config.root import Config
from superedge.tap.compose import compose
from superedge.tls.authority import Authority
from superedge.tls.contexts import ClientContextSource, ServerContextSource


class LookedAfterTests(SynchronousTestCase):
    def test_every_source_of_a_process(self) -> None:
        directory = Path(self.mktemp()).resolve()
        ca = Authority.create(directory)
        pair = ca.issue("edge-1", directory=directory)
        shown = {"certificate": str(pair.certificate), "key": str(pair.key)}
        door = {"listen": "127.0.0.1:0", **shown, "client_ca": [str(ca.path)]}
        trusting = {**shown, "ca": [str(ca.path)]}
        config = {
            "tunnel_cloud": {
                **trusting,
                "listeners": [
                    {"kind": "connect", **door},
                    {"kind": "https", "target": "127.0.0.1:1", **door},
                ],
            },
            "tunnel_edge": {"servers": ["127.0.0.1:1"], **trusting, "tls": {**trusting}},
            "lite_apiserver": {
                **shown,
                "client_ca": [str(ca.path)],
                "identities": [str(directory)],
                "upstream": {"servers": ["127.0.0.1:1"], "ca": [str(ca.path)]},
                "cache": {"path": str(directory / "cache")},
            },
        }
        made: list[Any] = []
        looked_at: list[Any] = []

        def noting(kind: Any) -> Any:
            initialise = kind.__init__

            def init(self: Any, *arguments: Any, **keywords: Any) -> None:
                initialise(self, *arguments, **keywords)
                made.append(self)

            return patch.multiple(kind, __init__=init, end_expired=lambda self: looked_at.append(self))

        reactor: Any = MemoryReactorClock()
        with noting(ServerContextSource), noting(ClientContextSource):
            root = compose(convert(Config, config, "test", directory), reactor)
            root.watcher.check()
            for service in root:
                if service.name == "lite-apiserver":
                    service.identities.check()
        self.assertGreaterEqual(len(made), 8)
        self.assertEqual({id(each) for each in made}, {id(each) for each in looked_at})
