"""Addresses that two listeners of one configuration cannot both have."""

from __future__ import annotations

import tomllib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from superedge.config.listening import listening
from superedge.config.load import convert
from superedge.config.root import Config
from superedge.errors import ConfigError

CLOUD = """
[ops]
[tunnel_cloud]
certificate = "a"
key = "a"
ca = ["a"]
"""


class ListeningTests(SynchronousTestCase):
    def load(self, *listens: str, more: str = "") -> Config:
        text = CLOUD + "".join(
            f'[[tunnel_cloud.listeners]]\nkind = "tls"\nlisten = "{listen}"\n' for listen in listens
        )
        return convert(Config, tomllib.loads(text + more), "x.toml", Path())

    def test_every_address_has_its_key(self) -> None:
        config = self.load("unix:/x", "[::1]:7", more='[tunnel_dns]\nlisten = ["127.0.0.1", "[::1]:54"]\n')
        found = {(key, str(address)) for key, address in listening(config)}
        self.assertEqual(
            found,
            {
                ("ops.listen", "127.0.0.1:51010"),
                ("tunnel_cloud.listen", "0.0.0.0:51000"),
                ("tunnel_cloud.listeners[0].listen", "unix:/x"),
                ("tunnel_cloud.listeners[1].listen", "[::1]:7"),
                ("tunnel_dns.listen", "127.0.0.1:53"),
                ("tunnel_dns.listen", "[::1]:54"),
            },
        )

    def test_the_second_is_refused(self) -> None:
        for listens, key, other in (
            (("127.0.0.1:7", "127.0.0.1:7"), "tunnel_cloud.listeners[1]", "tunnel_cloud.listeners[0]"),
            (("0.0.0.0:7", "127.0.0.1:7"), "tunnel_cloud.listeners[1]", "tunnel_cloud.listeners[0]"),
            (("[::1]:7", "[::]:7"), "tunnel_cloud.listeners[1]", "tunnel_cloud.listeners[0]"),
            (("unix:/x", "unix:/x"), "tunnel_cloud.listeners[1]", "tunnel_cloud.listeners[0]"),
            (("127.0.0.1:51010",), "tunnel_cloud.listeners[0]", "ops"),
            (("127.0.0.1:51000",), "tunnel_cloud.listeners[0]", "tunnel_cloud"),
        ):
            with self.assertRaises(ConfigError) as caught:
                self.load(*listens)
            self.assertEqual(
                str(caught.exception),
                f"x.toml: {key}.listen: {listens[-1]} is already used by {other}.listen",
            )

    def test_others_go_together(self) -> None:
        together = ("127.0.0.1:7", "127.0.0.2:7", "[::1]:7", "localhost:7", "127.0.0.1:0", "127.0.0.1:0")
        self.assertIsInstance(self.load(*together), Config)
