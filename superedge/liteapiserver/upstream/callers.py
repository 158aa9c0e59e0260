"""Finds out which caller a request comes from: by its client certificate, or else by its bearer token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from superedge.liteapiserver.access.caller import Caller
from superedge.liteapiserver.access.credentials import ANONYMOUS, UNATTRIBUTED, Credentials
from superedge.liteapiserver.upstream.identity import IdentityManager


class Forbidden(Exception):
    """Nothing is forwarded for this client; the text says why."""


class Callers:
    """Maps the credentials of a request to a caller."""

    def __init__(
        self,
        identities: IdentityManager,
        credentials: Credentials,
        forward_unknown: bool,
        clock: Callable[[], float],
    ) -> None:
        """``forward_unknown`` says whether a client whose certificate's common name has no upstream identity
        is forwarded as a client without a certificate; ``clock`` gives reactor seconds.
        """
        self._clock = clock
        self._identities = identities
        self._credentials = credentials
        self._forward_unknown = forward_unknown

    def find(self, transport: Any, token: str | None, impersonation: str) -> Caller:
        """The caller of a request. Raises Forbidden.

        ``transport`` gives the verified client certificate's common name and organizations, ``token`` is what
        `bearer_token` read, ``impersonation`` what `impersonation` read.
        """
        name = transport.peer_common_name
        if name is not None:
            found = self._identities.find(name, self._clock())
            if found is not None:
                missing = found.identity.organizations - transport.peer_organizations
                if missing:
                    raise Forbidden(
                        f"the client certificate of {name!r} lacks groups that its upstream identity has: "
                        f"{', '.join(sorted(missing))}"
                    )
                known = found.caller
                return Caller(known.pool, impersonation + known.identity) if impersonation else known
            if not self._forward_unknown:
                raise Forbidden(
                    f"no upstream identity has the common name {name!r} of the client certificate"
                )
        pool = self._identities.anonymous
        if token is None:
            return Caller(pool, UNATTRIBUTED, is_known=False)
        if token:
            return Caller(pool, impersonation + self._credentials.identify(token).name, token)
        return Caller(pool, impersonation + ANONYMOUS)
