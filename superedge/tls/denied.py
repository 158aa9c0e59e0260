"""A file of certificates to refuse although a trusted CA signed them; reloaded when it changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from weakref import WeakSet

from twisted.logger import Logger

from superedge.errors import IdentityError

_NODE_PREFIX = "system:node:"

_log = Logger()


class DenyList:
    """Lines ``serial HEX`` and ``name COMMON-NAME``; # begins a comment.

    A serial number has the form that ``openssl x509 -serial`` prints; colons are allowed. A name also denies
    the certificate of the node with that name, ``system:node:NAME``.
    """

    def __init__(self, path: Path) -> None:
        """Raises IdentityError when the file or a line is invalid."""
        self.path = path
        self._serials, self._names = _read(path)
        self._admitted: WeakSet[Any] = WeakSet()

    def admit(self, transport: Any) -> bool:
        """Whether the peer's certificate is not denied. If it is denied later, the connection ends."""
        if self._denies(transport):
            return False
        self._admitted.add(transport)
        return True

    def _denies(self, transport: Any) -> bool:
        serial = transport.peer_certificate.get("serialNumber")
        return self.denies(transport.peer_common_name or "", None if serial is None else int(serial, 16))

    def denies(self, name: str, serial: int | None) -> bool:
        """Whether a certificate with this common name and serial number is denied."""
        return (
            serial in self._serials or name in self._names or name.removeprefix(_NODE_PREFIX) in self._names
        )

    def reload(self) -> None:
        """Reload the file, and end connections that it denies. An IdentityError changes nothing."""
        self._serials, self._names = _read(self.path)
        _log.info("reloaded the denied certificates from {path}", path=str(self.path))
        for transport in list(self._admitted):
            if self._denies(transport):
                self._admitted.discard(transport)
                _log.warn(
                    "ended a connection of {name}, serial number {serial}: its certificate is denied",
                    name=transport.peer_common_name,
                    serial=transport.peer_certificate.get("serialNumber"),
                )
                transport.abortConnection("its certificate is denied")


def _read(path: Path) -> tuple[frozenset[int], frozenset[str]]:
    serials, names = set(), set()
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise IdentityError(path, f"cannot be read: {getattr(problem, 'strerror', problem)}") from problem
    for number, line in enumerate(lines, 1):
        kind, _, value = line.partition("#")[0].strip().partition(" ")
        value = value.strip()
        if kind == "serial" and value:
            try:
                serials.add(int(value.replace(":", ""), 16))
            except ValueError:
                raise IdentityError(path, f"line {number}: {value!r} is not a hexadecimal number") from None
        elif kind == "name" and value:
            names.add(value)
        elif kind:
            raise IdentityError(path, f"line {number} is neither `serial HEX` nor `name COMMON-NAME`")
    return frozenset(serials), frozenset(names)
