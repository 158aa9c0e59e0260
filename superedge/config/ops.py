"""Table ``[ops]``: metrics, health and status over HTTP."""

from __future__ import annotations

import msgspec

from superedge.config.checks import check_tcp_address


class OpsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Plain HTTP with `/metrics`, `/healthz`, `/readyz` and each component's status page."""

    #: Address of the listener. It has no authentication: use loopback or a management network.
    listen: str = "127.0.0.1:51010"

    def __post_init__(self) -> None:
        """Check the address."""
        check_tcp_address("listen", self.listen)
