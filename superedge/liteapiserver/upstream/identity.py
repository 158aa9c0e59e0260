"""The upstream identities: certificate and key pairs on disk, each with its connection pool."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from twisted.logger import Logger

from superedge.errors import ConfigWarning, IdentityError
from superedge.liteapiserver import metrics
from superedge.liteapiserver.access.caller import Caller, certificate_identity
from superedge.tls.contexts import ClientContextSource, file_stamp
from superedge.tls.identity import Identity, load_certificates, load_identity
from superedge.tls.metrics import CERTIFICATE_EXPIRY
from superedge.tls.warnings import pair_warnings
from superedge.web.pool import Pool

MIN_SCAN_INTERVAL = 0.5
"""Seconds between two scans for an unknown name while no path has changed."""

_log = Logger()

PoolMaker = Callable[[ClientContextSource], Pool]


@dataclass(slots=True)
class UpstreamIdentity:
    """A pair in use, with its pool and caller."""

    identity: Identity
    tls: ClientContextSource
    pool: Pool
    caller: Caller


class IdentityManager:
    """Finds pairs in files and directories; `check` follows what changed.

    A new common name gets a pool. A changed pair replaces the old one, whose connections end after their
    requests, or after ``drain_timeout`` seconds. A pair that cannot be loaded is reported, and the old one
    stays in use.
    """

    def __init__(
        self, paths: Iterable[Path], ca: list[Path], make_pool: PoolMaker, drain_timeout: float
    ) -> None:
        self._paths = list(paths)
        self._ca = ca
        self._make_pool = make_pool
        self._drain_timeout = drain_timeout
        self._by_name: dict[str, UpstreamIdentity] = {}
        self._faults: dict[Path, str] = {}
        self._loaded: dict[tuple[Path, Path], tuple[tuple[object, ...], str]] = {}
        self._next_scan = 0.0
        self._listings: list[object] = []
        self._anonymous_tls = ClientContextSource(ca)
        self.anonymous = make_pool(self._anonymous_tls)
        self._set_faults(self._scan())

    @property
    def names(self) -> list[str]:
        """The common names that have a pair."""
        return sorted(self._by_name)

    @property
    def faults(self) -> list[str]:
        """A sentence for each file that cannot be used."""
        return sorted(self._faults.values())

    def get(self, name: str) -> UpstreamIdentity | None:
        """The pair with a common name."""
        return self._by_name.get(name)

    def find(self, name: str, now: float) -> UpstreamIdentity | None:
        """As `get`, but scans the files when the name is unknown, since its pair may be new.

        An unknown name costs a listing of the paths. The files are read if the listing changed, and otherwise
        at most once in `MIN_SCAN_INTERVAL` seconds. ``now`` is in reactor seconds.
        """
        if name not in self._by_name:
            paths = [_listing(path) for path in self._paths]
            if paths != self._listings or now >= self._next_scan:
                self._listings = paths
                self._next_scan = now + MIN_SCAN_INTERVAL
                self.check()
        return self._by_name.get(name)

    def pools(self) -> list[Pool]:
        """Every pool."""
        return [self.anonymous, *(found.pool for found in self._by_name.values())]

    def reload_authorities(self) -> None:
        """Load the CA files again. Raises IdentityError; then the previous CAs stay in use."""
        self._anonymous_tls.reload()
        self.anonymous.replace(self._drain_timeout)
        for found in self._by_name.values():
            found.tls.reload()
            found.pool.replace(self._drain_timeout)

    def check(self) -> None:
        """Scan the files: use new and changed pairs, and log those that cannot be used.

        Connections to servers whose certificates have expired are closed.
        """
        faults = self._scan()
        for path, message in faults.items():
            if self._faults.get(path) != message:
                _log.error(
                    "an identity cannot be used, the previous one stays in use: {problem}", problem=message
                )
        self._set_faults(faults)
        self._anonymous_tls.end_expired()
        for found in self._by_name.values():
            found.tls.end_expired()

    def warnings(self, now: datetime) -> Iterator[ConfigWarning]:
        """Pairs that cannot be loaded, and those that can but are unlikely to work."""
        yield from (ConfigWarning(text, temporary=True) for text in self.faults)
        for found in self._by_name.values():
            yield from pair_warnings(found.identity.certificate, found.identity.key, now)

    def _set_faults(self, faults: dict[Path, str]) -> None:
        self._faults = faults
        metrics.IDENTITY_FAULTS.set(len(faults))

    def _scan(self) -> dict[Path, str]:
        faults: dict[Path, str] = {}
        pairs = self._pairs(faults)
        for pair in pairs:
            stamp = (file_stamp(pair[0]), file_stamp(pair[1]))
            known = self._loaded.get(pair)
            if known is not None and known[0] == stamp:
                continue
            try:
                name = self._load(pair)
            except IdentityError as problem:
                faults[pair[0]] = str(problem)
                continue
            if known is not None and known[1] != name:
                self._forget(pair, known[1])
            self._loaded[pair] = (stamp, name)
        self._forget_removed(set(pairs))
        return faults

    def _load(self, pair: tuple[Path, Path]) -> str:
        """Load a pair; its common name, empty for a CA's pair. Raises IdentityError."""
        if pair[0] != pair[1] and _is_ca(pair[0]):
            return ""
        identity = load_identity(*pair)
        current = self._by_name.get(identity.name)
        if current is not None and (current.identity.certificate, current.identity.key) == pair:
            current.tls.reload()
            current.identity = identity
            current.pool.replace(self._drain_timeout)
            _log.info("identity {name} has a new certificate", name=identity.name)
        elif current is not None:
            raise IdentityError(
                pair[0], f"has the same common name {identity.name} as {current.identity.certificate}"
            )
        else:
            tls = ClientContextSource(self._ca, *pair)
            pool = self._make_pool(tls)
            caller = Caller(pool, certificate_identity(identity.name))
            self._by_name[identity.name] = UpstreamIdentity(identity, tls, pool, caller)
            _log.info("identity {name} from {path}", name=identity.name, path=str(pair[0]))
        metrics.IDENTITY_EXPIRY.labels(identity.name).set(identity.not_after.timestamp())
        return identity.name

    def _forget_removed(self, present: set[tuple[Path, Path]]) -> None:
        for pair in set(self._loaded) - present:
            self._forget(pair, self._loaded.pop(pair)[1])
            CERTIFICATE_EXPIRY.remove(str(pair[0]))

    def _forget(self, pair: tuple[Path, Path], name: str) -> None:
        found = self._by_name.get(name)
        if found is not None and (found.identity.certificate, found.identity.key) == pair:
            del self._by_name[name]
            found.pool.abort()
            metrics.IDENTITY_EXPIRY.remove(name)
            _log.info("identity {name} was removed from {path}", name=name, path=str(pair[0]))

    def _pairs(self, faults: dict[Path, str]) -> list[tuple[Path, Path]]:
        found: list[tuple[Path, Path]] = []
        for path in self._paths:
            if not path.is_dir():
                found.append((path, path))
                continue
            try:
                entries = sorted(path.iterdir())
            except OSError as problem:
                faults[path] = f"{path}: cannot be read: {problem.strerror}"
                continue
            for entry in entries:
                if entry.suffix == ".pem":
                    found.append((entry, entry))
                elif entry.suffix == ".crt" and entry.with_suffix(".key").exists():
                    found.append((entry, entry.with_suffix(".key")))
        return found


def _listing(path: Path) -> object:
    """A value that changes when a file is added, even within one tick of the file system's clock."""
    try:
        names = sorted(os.listdir(path)) if path.is_dir() else []
    except OSError:
        names = []
    return names, file_stamp(path)


def _is_ca(certificate: Path) -> bool:
    """Whether a certificate is a CA's, and so not an identity."""
    try:
        return load_certificates(certificate)[0].is_ca
    except IdentityError:
        return False
