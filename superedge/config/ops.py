"""Section ``[ops]``: where operators and monitoring look."""

from __future__ import annotations

import msgspec

from superedge.config.checks import check_tcp_address


class OpsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Plain HTTP with `/metrics`, `/healthz`, `/readyz` and each component's status page."""

    #: Address of the listener. It has no authentication: keep it on loopback or a management network.
    listen: str = "127.0.0.1:51010"

    def __post_init__(self) -> None:
        """Refuse what is no TCP address."""
        check_tcp_address("listen", self.listen)
