"""The file with the key that encrypts stored tokens. With it they are lost, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.logger import Logger

from superedge.liteapiserver.access.seal import Seal, generate_key

_MAX_BYTES = 4096

_log = Logger()


class TokenKey:
    """The key in a file, or a new one, which `keep` writes."""

    def __init__(self, path: Path | None) -> None:
        """Read the file, and write nothing. Without ``path`` the key stays in memory."""
        self._path = path
        self.key = generate_key()
        self.is_new = False
        """Whether the file had no key, so that stored tokens cannot be decrypted."""
        self._is_written = True
        self._fault = ""
        if path is None:
            return
        try:
            found = read_key(path)
        except OSError as problem:
            self._not_kept(problem)
            return
        if found is not None:
            try:
                Seal(found)
            except ValueError as problem:
                _log.error(
                    "{path} is not a key of 32 bytes in base64 ({problem}): it is replaced by a new one, and "
                    "the stored tokens are lost",
                    path=str(path),
                    problem=problem,
                )
            else:
                self.key = found
                return
        self.is_new, self._is_written = True, False

    def keep(self) -> None:
        """Write the key if it is not in its file.

        To be called every few seconds: the disk may have been full, or somebody removed the file.
        """
        path = self._path
        if path is None or (self._is_written and (path.exists() or not path.parent.is_dir())):
            return
        try:
            write_key(path, self.key)
        except OSError as problem:
            self._not_kept(problem)
        else:
            self._is_written, self._fault = True, ""

    def save(self) -> None:
        """Write the key, for a store that lost everything."""
        self._is_written = False
        self.keep()

    def _not_kept(self, problem: OSError) -> None:
        fault = f"{self._path}: {problem.strerror}"
        if fault != self._fault:
            self._fault = fault
            _log.error("tokens are kept in memory only: {fault}", fault=fault)


def read_key(path: Path) -> bytes | None:
    """The key that encrypts tokens; None when the file does not exist. Raises OSError."""
    try:
        # O_NONBLOCK: a FIFO must not block.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                _log.warn("{path} was readable by others: its mode is 0600 now", path=str(path))
                os.fchmod(file.fileno(), 0o600)
            return file.read(_MAX_BYTES)
    except FileNotFoundError:
        return None


def write_key(path: Path, key: bytes) -> None:
    """Write the key file with mode 0600. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    os.rename(aside, path)
