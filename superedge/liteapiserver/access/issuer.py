"""The issuer of the cluster's service account tokens: its name and public keys. Pure.

Source: Kubernetes "Service Account Issuer Discovery".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from superedge.interfaces import Entry
from superedge.kube.errors import JSON_FAULTS, DecodeError
from superedge.liteapiserver import metrics
from superedge.liteapiserver.access.jwt import Claims, Key, TokenError, read_signed, verify
from superedge.liteapiserver.cache import records
from superedge.liteapiserver.cache.records import Commit

CONFIGURATION = "/.well-known/openid-configuration"
KEYS = "/openid/v1/jwks"
_KEY = ("service-account",)


class _Configuration(msgspec.Struct):
    issuer: str


class _KeySet(msgspec.Struct):
    keys: list[Key]


class _Issuer(msgspec.Struct):
    issuer: str
    keys: list[Key]


class Issuer:
    """Verifies tokens by its keys.

    Only the cloud knows whether a token's pod still exists; here a token is valid until it expires.
    """

    def __init__(
        self,
        audiences: Sequence[str],
        commit: Commit,
        clock: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        """``audiences`` are those of the API server; when empty, the issuer's name.

        ``clock`` gives Unix time; ``changed`` is called when the keys have changed.
        """
        self._audiences = list(audiences)
        self._commit = commit
        self._clock = clock
        self._changed = changed
        self._known = _Issuer("", [])

    @property
    def name(self) -> str:
        """The issuer, empty while it is not known."""
        return self._known.issuer

    def load(self, entries: Iterable[Entry]) -> None:
        """Load what a store holds."""
        for entry in entries:
            if entry.kind == records.ISSUER:
                try:
                    self._known, _ = records.unpack(_Issuer, entry.value)
                except DecodeError:
                    self._commit(entry.kind, entry.key, None)
        metrics.ISSUER_KNOWN.set(bool(self.name))

    def save(self) -> None:
        """Commit everything again, for a store that lost it."""
        if self.name:
            self._commit(records.ISSUER, _KEY, records.pack(self._known))

    def update(self, configuration: bytes, keys: bytes) -> None:
        """Take the API server's issuer configuration and keys, both in JSON. Raises DecodeError."""
        try:
            issuer = msgspec.json.decode(configuration, type=_Configuration).issuer
            known = _Issuer(issuer, msgspec.json.decode(keys, type=_KeySet).keys)
        except JSON_FAULTS as problem:
            raise DecodeError(f"not an issuer's keys: {problem}") from problem
        if not issuer:
            raise DecodeError("not an issuer's keys: it has no name")
        if known != self._known:
            self._known = known
            metrics.ISSUER_KNOWN.set(1)
            self._commit(records.ISSUER, _KEY, records.pack(known))
            self._changed()

    def verify(self, token: str) -> Claims:
        """The claims of a valid token. Raises TokenError."""
        if not self.name:
            raise TokenError("the issuer's keys are not known")
        audiences = self._audiences or [self.name]
        return verify(token, self._known.keys, self.name, audiences, self._clock())

    def is_forged(self, issuer: str, token: str) -> bool:
        """Whether a token claims this issuer and none of the issuer's keys signed it."""
        if not self.name or issuer != self.name:
            return False
        try:
            read_signed(token, self._known.keys)
        except TokenError:
            return True
        return False
