"""The allocations of all networks on disk.

``DIRECTORY/NETWORK`` has ``state``, its copy ``state.backup``, ``lock``, and the files of `hostlocal`.
"""

import os
import time
from fcntl import LOCK_EX, flock

from superedge.netsnapshot.ipam import hostlocal
from superedge.netsnapshot.ipam.allocation import Moment, Record, Table
from superedge.netsnapshot.ipam.configuration import DIRECTORY, is_name
from superedge.netsnapshot.ipam.files import Contents, dump, generation_of, load
from superedge.netsnapshot.ipam.sharing import DIRECTORY_MODE, is_shared, open_own

STATE = "state"
BACKUP = "state.backup"
LOCK = "lock"


def moment() -> Moment:
    """Now."""
    boot = hostlocal.read("/proc/sys/kernel/random/boot_id") or b""
    return Moment(int(time.time()), boot.decode().strip(), int(time.clock_gettime(time.CLOCK_BOOTTIME)))


def machine_id() -> str:
    """The id of this node's installation; empty when it has none."""
    return (hostlocal.read("/etc/machine-id") or b"").decode(errors="replace").strip()


class NetworkFile:
    """One network's table on disk. As a context manager it holds the network's lock, and has read the table.

    ``remarks`` says what was wrong with the files, for people. The table is then made from the copy, or, when
    that is damaged too, from host-local's files: no address in use is ever lost. Raises OSError.
    """

    def __init__(self, directory: str, network: str, now: Moment, results: str = hostlocal.RESULTS) -> None:
        self.network = network
        self.directory = f"{directory}/{network}"
        self.now = now
        self.remarks: list[str] = []
        self._results = results
        self._lock = -1
        self._shared = False
        self.files: set[str] = set()
        """The addresses that have a file of host-local's."""
        self._written: dict[str, tuple[str, str]] = {}

    def __enter__(self) -> "NetworkFile":
        self._make_directory()
        self._lock = open_own(f"{self.directory}/{LOCK}", os.O_RDWR, self._shared)
        try:
            flock(self._lock, LOCK_EX)
            self._read()
        except BaseException:
            os.close(self._lock)
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._lock)

    def _make_directory(self) -> None:
        if not os.path.isdir(self.directory):
            os.makedirs(self.directory, 0o755, exist_ok=True)
            if is_shared(os.path.dirname(self.directory)):
                os.chmod(self.directory, DIRECTORY_MODE)
        self._shared = is_shared(self.directory)

    @property
    def table(self) -> Table:
        """What was read, to be changed in place."""
        return self._contents.table

    def _read(self) -> None:
        """Read the newest copy that is whole, and follow what host-local has done since it was written."""
        node = machine_id()
        own = self._copy(STATE)
        if own is None or own.node != node:
            copies = [each for each in (own, self._copy(BACKUP)) if each is not None]
            # A file of another node does no harm: its addresses stay taken until their time is over.
            own = max(copies, key=lambda each: (each.node == node, each.generation), default=None)
        else:
            backup = self._copy(BACKUP, own.generation)
            if backup is not None and backup.node == node:
                own = backup
        self._contents = own or Contents(self.network, node, Table())
        foreign = self._contents.node != node
        if foreign:
            self.remarks.append(f"{self.directory}/{STATE} is of another node")
            self._contents.node = node
        self.files = hostlocal.files(self.directory, self.table.taken())
        self._follow_host_local(foreign)

    def _copy(self, name: str, generation: int = -1) -> Contents | None:
        """One of the copies, if it is whole and of a later generation than this."""
        path = f"{self.directory}/{name}"
        data = hostlocal.read(path)
        if data is None or (generation >= 0 and generation_of(data) <= generation):
            return None
        try:
            contents = load(data)
        except ValueError as problem:
            self.remarks.append(f"{path} {problem}")
            return None
        if contents.network != self.network:
            self.remarks.append(f"{path} is of the network {contents.network}")
            return None
        return contents

    def damage(self) -> list[str]:
        """A sentence for each copy that is missing or unusable."""
        found = []
        for name in (STATE, BACKUP):
            path = f"{self.directory}/{name}"
            data = hostlocal.read(path)
            try:
                if data is None:
                    raise ValueError("is missing")
                contents = load(data)
                if contents.network != self.network:
                    raise ValueError(f"is of the network {contents.network}")
                if contents.node != machine_id():
                    raise ValueError("is of another node")
            except ValueError as problem:
                found.append(f"{path} {problem}")
        return found

    def _follow_host_local(self, foreign: bool) -> None:
        contents, table = self._contents, self._contents.table
        latest = hostlocal.latest(self.directory)
        served = latest != contents.host_local
        attached = self._attached()
        unknown = self.files if served or foreign else self.files.difference(attached)
        if unknown:
            hostlocal.adopt(table, self.directory, self.network, unknown, self._results, self.now)
            attached = self._attached()
        if served:
            contents.host_local = latest
            table.last.update(hostlocal.last_addresses(self.directory))
        if served or foreign:
            for record in [each for each in table.records if each.container]:
                if self.files.isdisjoint(record.addresses) and (foreign or self._has_ended(record)):
                    table.detach(record, self.now)
        self._written = {address: holder for address, holder in attached.items() if address in self.files}

    def _has_ended(self, record: Record) -> bool:
        """Whether the runtime, which keeps the results of its attachments, has none of this one any more."""
        path = f"{self._results}/{self.network}-{record.container}-{record.interface}"
        return os.access(self._results, os.X_OK) and not os.path.exists(path)

    def _attached(self) -> dict[str, tuple[str, str]]:
        """The container and the interface of each address that is attached."""
        return {
            address: (record.container, record.interface)
            for record in self.table.records
            if record.container
            for address in record.addresses
        }

    def write(self, make_room: bool = False) -> None:
        """Bring the files in line with the table; on return the table is on disk. Raises OSError.

        When the disk is full and ``make_room`` is set, the backup gives its room to the new state: the end of
        a pod must not depend on free space.
        """
        attached = self._attached()
        for address in self.files.difference(attached):
            os.unlink(f"{self.directory}/{address}")
        self._contents.generation += 1
        self._write_state(dump(self._contents), make_room)
        for address, holder in attached.items():
            if self._written.get(address) != holder:
                hostlocal.write(self.directory, address, *holder, self._shared)
        descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _write_state(self, data: bytes, make_room: bool) -> None:
        state, backup = f"{self.directory}/{STATE}", f"{self.directory}/{BACKUP}"
        try:
            self._write_file(f"{state}.new", data)
            # A power cut can tear one copy: this one, as the other is on disk before either is replaced.
            self._write_file(f"{backup}.new", data, flush=False)
        except OSError:
            _remove(f"{state}.new")
            if not make_room:
                raise
            _remove(backup)
            self._write_file(f"{state}.new", data)
        os.rename(f"{state}.new", state)
        if os.path.exists(f"{backup}.new"):
            os.rename(f"{backup}.new", backup)

    def _write_file(self, path: str, data: bytes, flush: bool = True) -> None:
        descriptor = open_own(path, os.O_WRONLY | os.O_TRUNC, self._shared)
        try:
            while data:
                data = data[os.write(descriptor, data) :]
            if flush:
                os.fsync(descriptor)
        except OSError:
            os.unlink(path)
            raise
        finally:
            os.close(descriptor)


def _remove(path: str) -> None:
    if os.path.exists(path):
        os.unlink(path)


class Reservation:
    """What one pod's interface has: its addresses, without prefix lengths.

    ``uid`` is empty when the runtime does not know it, ``container`` when nothing is attached. ``since`` is
    in seconds since 1970. Without a pod's name, as from cnitool, ``namespace`` and ``pod`` are empty.
    """

    __slots__ = (
        "addresses",
        "container",
        "interface",
        "namespace",
        "network",
        "pod",
        "since",
        "state",
        "uid",
    )

    def __init__(self, network: str, record: Record) -> None:
        self.network = network
        self.namespace = record.namespace
        self.pod = record.pod
        self.uid = record.uid
        self.container = record.container
        self.interface = record.interface
        self.addresses = tuple(record.addresses)
        self.since = record.since
        self.state = record.state

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {key: getattr(self, key) for key in self.__slots__}


class Store:
    """The networks of this node. Its methods block; they raise OSError."""

    def __init__(self, directory: str = DIRECTORY, results: str = hostlocal.RESULTS) -> None:
        self.directory = directory
        self._results = results

    def networks(self) -> list[str]:
        """The networks that this plugin serves, or has served, sorted."""
        try:
            names = os.listdir(self.directory)
        except FileNotFoundError:
            return []
        return sorted(
            name
            for name in names
            if is_name(name)
            and any(os.path.exists(f"{self.directory}/{name}/{each}") for each in (STATE, BACKUP))
        )

    def open(self, network: str) -> NetworkFile:
        """One network, to be used as a context manager."""
        return NetworkFile(self.directory, network, moment(), self._results)

    def reservations(self, network: str = "") -> list[Reservation]:
        """What is attached and what is reserved, in one network or in all."""
        found = []
        for name in [network] if network else self.networks():
            with self.open(name) as file:
                found += [Reservation(name, each) for each in file.table.records]
        return found

    def release(
        self, namespace: str, pod: str, uid: str = "", *, kept: bool = False, attached: bool = False
    ) -> list[Reservation]:
        """End what is reserved for a pod that is gone, and return it.

        ``uid`` may be empty: then it ends whatever the uid. What a pod of the same name inherits
        (``keepByName``) ends with ``kept`` alone, otherwise by the time limit or by pressure; what is
        attached, with ``attached``.
        """
        ended = []
        for name in self.networks():
            with self.open(name) as file:
                released = file.table.release(namespace, pod, uid, kept, attached)
                if released:
                    file.write(make_room=True)
                ended += [Reservation(name, each) for each in released]
        return ended
