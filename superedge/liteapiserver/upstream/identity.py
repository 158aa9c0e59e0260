"""The certificate manager: upstream identities on disk, one connection pool for each."""

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

EAGERNESS = 0.5
"""Seconds between two looks for a name that is not known, while no path has changed."""

_log = Logger()

PoolMaker = Callable[[ClientContextSource], Pool]


@dataclass(slots=True)
class UpstreamIdentity:
    """One pair in use, and who asks with it."""

    identity: Identity
    tls: ClientContextSource
    pool: Pool
    caller: Caller


class IdentityManager:
    """Finds pairs in files and directories; `check` follows what changed.

    A new common name gets a pool; a changed pair replaces the old, whose connections end after their
    requests or ``bound`` seconds; a broken pair leaves the one in use and is reported.
    """

    def __init__(self, paths: Iterable[Path], ca: list[Path], make_pool: PoolMaker, bound: float) -> None:
        self._paths = list(paths)
        self._ca = ca
        self._make_pool = make_pool
        self._bound = bound
        self._by_name: dict[str, UpstreamIdentity] = {}
        self._faults: dict[Path, str] = {}
        self._loaded: dict[tuple[Path, Path], tuple[tuple[object, ...], str]] = {}
        self._next_look = 0.0
        self._looked_at: list[object] = []
        self._anonymous_tls = ClientContextSource(ca)
        self.anonymous = make_pool(self._anonymous_tls)
        self._note(self._look())

    @property
    def names(self) -> list[str]:
        """The common names that have a pair."""
        return sorted(self._by_name)

    @property
    def faults(self) -> list[str]:
        """A sentence for each file that cannot be used."""
        return sorted(self._faults.values())

    def get(self, name: str) -> UpstreamIdentity | None:
        """The pair of a common name."""
        return self._by_name.get(name)

    def find(self, name: str, now: float) -> UpstreamIdentity | None:
        """As `get`, but looks at the files once more when there is none: it may have come a moment ago.

        A stranger costs a listing of the paths; the files are read when that changed, and otherwise at most
        once in `EAGERNESS` seconds.
        """
        if name not in self._by_name:
            paths = [_listing(path) for path in self._paths]
            if paths != self._looked_at or now >= self._next_look:
                self._looked_at = paths
                self._next_look = now + EAGERNESS
                self.check()
        return self._by_name.get(name)

    def pools(self) -> list[Pool]:
        """Every pool."""
        return [self.anonymous, *(found.pool for found in self._by_name.values())]

    def reload_authorities(self) -> None:
        """Trust what the CA files say now. Raises IdentityError; then what was trusted before is."""
        self._anonymous_tls.reload()
        self.anonymous.replace(self._bound)
        for found in self._by_name.values():
            found.tls.reload()
            found.pool.replace(self._bound)

    def check(self) -> None:
        """Look at the files, take changed and new pairs into use, and log what cannot be used any more.

        Connections to servers whose certificates have expired end.
        """
        faults = self._look()
        for path, message in faults.items():
            if self._faults.get(path) != message:
                _log.error("identity not usable, kept what was in use: {problem}", problem=message)
        self._note(faults)
        self._anonymous_tls.end_expired()
        for found in self._by_name.values():
            found.tls.end_expired()

    def warnings(self, now: datetime) -> Iterator[ConfigWarning]:
        """Pairs that cannot be loaded, and those that can but are unlikely to work."""
        yield from (ConfigWarning(text, temporary=True) for text in self.faults)
        for found in self._by_name.values():
            yield from pair_warnings(found.identity.certificate, found.identity.key, now)

    def _note(self, faults: dict[Path, str]) -> None:
        self._faults = faults
        metrics.IDENTITY_FAULTS.set(len(faults))

    def _look(self) -> dict[Path, str]:
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
        """The common name that the pair is for, empty for one that is nobody's. Raises IdentityError."""
        if pair[0] != pair[1] and _is_ca(pair[0]):
            return ""
        identity = load_identity(*pair)
        current = self._by_name.get(identity.name)
        if current is not None and (current.identity.certificate, current.identity.key) == pair:
            current.tls.reload()
            current.identity = identity
            current.pool.replace(self._bound)
            _log.info("identity {name} has a new certificate", name=identity.name)
        elif current is not None:
            raise IdentityError(
                pair[0], f"has the common name {identity.name} that {current.identity.certificate} has, too"
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
            _log.info("identity {name} is gone from {path}", name=name, path=str(pair[0]))

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
    """Changes when a file comes, also within one tick of the file system's clock."""
    try:
        names = sorted(os.listdir(path)) if path.is_dir() else []
    except OSError:
        names = []
    return names, file_stamp(path)


def _is_ca(certificate: Path) -> bool:
    """Whether it signs others, and so is nobody's identity."""
    try:
        return load_certificates(certificate)[0].is_ca
    except IdentityError:
        return False
