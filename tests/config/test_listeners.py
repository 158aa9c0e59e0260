"""No listener is open to the world by accident."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from superedge.config.listeners import (
    ConnectListenerConfig,
    HTTPListenerConfig,
    HTTPSListenerConfig,
    TCPListenerConfig,
)

PAIR: dict[str, Any] = {"certificate": Path("x.crt"), "key": Path("x.key")}


class ExposureTests(SynchronousTestCase):
    def refuses(self, kind: Any, listen: str, **options: Any) -> None:
        self.assertRaises(ValueError, kind, listen=listen, **options)

    def test_what_asks_nobody_stays_on_loopback(self) -> None:
        kinds: tuple[tuple[Any, dict[str, Any]], ...] = (
            (TCPListenerConfig, {"node": "a", "target": "127.0.0.1:22"}),
            (HTTPListenerConfig, {"target": "127.0.0.1:80"}),
        )
        for kind, options in kinds:
            for listen in ("0.0.0.0:80", "[::]:80", "192.0.2.1:80", "cloud.example:80"):
                self.refuses(kind, listen, **options)
                kind(listen=listen, allow=["10.0.0.0/8"], **options)
            for listen in ("127.0.0.1:80", "[::1]:80", "localhost:80", "unix:/run/x"):
                kind(listen=listen, **options)

    def test_who_reaches_every_node_shows_a_certificate(self) -> None:
        self.refuses(ConnectListenerConfig, "127.0.0.1:80", **PAIR)
        self.refuses(ConnectListenerConfig, "127.0.0.1:80", client_ca=[Path("ca.crt")])
        ConnectListenerConfig(listen="0.0.0.0:80", client_ca=[Path("ca.crt")], **PAIR)
        target: dict[str, Any] = {"target": "127.0.0.1:10250", **PAIR}
        self.refuses(HTTPSListenerConfig, "0.0.0.0:443", **target)
        self.refuses(HTTPSListenerConfig, "0.0.0.0:443", allow=["10.0.0.0/8"], **target)
        self.refuses(HTTPSListenerConfig, "127.0.0.1:443", client_names=["a"], **target)
        HTTPSListenerConfig(listen="0.0.0.0:443", client_ca=[Path("ca.crt")], **target)
        HTTPSListenerConfig(listen="127.0.0.1:443", **target)

    def test_targets(self) -> None:
        self.refuses(HTTPListenerConfig, "127.0.0.1:80")
        self.refuses(HTTPListenerConfig, "127.0.0.1:80", target="unix:/x")
        for port in ("x", "0", "70000", "٣"):
            self.refuses(HTTPListenerConfig, "127.0.0.1:80", ports={port: "127.0.0.1:1"})
        self.refuses(HTTPListenerConfig, "127.0.0.1:80", ports={"80": "nowhere"})
