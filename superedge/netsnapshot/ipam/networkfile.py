"""One network's allocations on disk.

``DIRECTORY/NETWORK`` has ``state``, its copy ``state.backup``, ``state.new``, which the next state is written
into, ``lock``, ``state.sync`` and the files of `hostlocal`.

A call replaces ``state`` under the lock without waiting for the disk, and answers once ``state.backup`` has
its change as well: a copy is written, flushed and renamed, and the directory flushed, by one call for all
that wait. A power cut may leave ``state`` older than the answers, or empty on xfs, but never the backup: on
ext4 as on xfs its name leads to a file that was flushed before it had that name, of the last answer's
generation or a later one. While the backup is missing or torn, ``state`` is the only copy, so what replaces
it is flushed first.
"""

import posix
import time
from fcntl import LOCK_EX, flock

from superedge.netsnapshot.ipam import hostlocal
from superedge.netsnapshot.ipam.allocation import Table
from superedge.netsnapshot.ipam.files import HEAD, Contents, check, dump, generation_of, load, parse
from superedge.netsnapshot.ipam.records import Moment, Record
from superedge.netsnapshot.ipam.sharing import NETWORK_MODE, is_parent_shared, is_shared, open_own

STATE = "state"
BACKUP = "state.backup"
LOCK = "lock"
_READ = posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NOFOLLOW | posix.O_NONBLOCK
MACHINE_ID = "/etc/machine-id"
SYNC = "state.sync"
"""The lock of the call that flushes."""


def moment() -> Moment:
    """Now."""
    boot = hostlocal.read("/proc/sys/kernel/random/boot_id") or b""
    return Moment(int(time.time()), boot.decode().strip(), int(time.clock_gettime(time.CLOCK_BOOTTIME)))


def machine_id() -> str:
    """The id of this node's installation; empty when it has none."""
    return (hostlocal.read(MACHINE_ID, links=0) or b"").decode(errors="replace").strip()


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
        self._latest = 0
        self._has_backup = False
        self.files: set[str] = set()
        """The addresses that have a file of host-local's."""

    def __enter__(self) -> "NetworkFile":
        self._make_directory()
        self._lock = self._take(LOCK)
        try:
            self._read()
        except BaseException:
            posix.close(self._lock)
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        posix.close(self._lock)

    def _take(self, name: str) -> int:
        """Wait for one of both locks. Whoever closes the descriptor releases it."""
        descriptor = open_own(f"{self.directory}/{name}", posix.O_RDWR, self._shared)
        try:
            flock(descriptor, LOCK_EX)
        except BaseException:
            posix.close(descriptor)
            raise
        return descriptor

    def _make_directory(self) -> None:
        if not _exists(self.directory):
            _make(self.directory)
            if is_parent_shared(self.directory.rpartition("/")[0] or "/"):
                posix.chmod(self.directory, NETWORK_MODE)
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
        self._follow_host_local(foreign)

    def _copy(self, name: str, generation: int = -1) -> Contents | None:
        """One of the copies, if it is whole and of a later generation than this."""
        path = f"{self.directory}/{name}"
        data = hostlocal.read(path)
        if data is None:
            return None
        # A later change must not be taken for one that a damaged or foreign copy has already.
        self._latest = max(self._latest, generation_of(data))
        try:
            check(data)
            self._has_backup = name == BACKUP
            if generation_of(data) <= generation:
                return None
            contents = parse(data)
            if self._shared:
                contents.table.check()  # a member of the group may have made it up
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
        attached = table.attached_addresses()
        self.files = hostlocal.files(self.directory, attached)
        unknown = self.files if served or foreign else self.files.difference(attached)
        if unknown:
            hostlocal.adopt(table, self.directory, self.network, unknown, self._results, self.now)
            attached = table.attached_addresses()
        if served:
            contents.host_local = latest
            table.last.update(hostlocal.last_addresses(self.directory))
        if not attached <= self.files:
            for record in table.records:
                lacks_files = record.container and self.files.isdisjoint(record.addresses)
                if lacks_files and (foreign or self._has_ended(record)):
                    table.detach(record, self.now)

    def _has_ended(self, record: Record) -> bool:
        """Whether the runtime, which keeps the results of its attachments, has none of this one any more."""
        path = f"{self._results}/{self.network}-{record.container}-{record.interface}"
        return posix.access(self._results, posix.X_OK) and not _exists(path)

    def write(self, make_room: bool = False) -> None:
        """Bring the files in line with the table. It is on disk after `flush`. Raises OSError.

        When the disk is full and ``make_room`` is set, the backup gives its room to the new state: the end of
        a pod must not depend on free space.
        """
        for address in self.files - self.table.attached_addresses():
            posix.unlink(f"{self.directory}/{address}")
        # What takes room is written before anything that counts changes.
        ready: list[tuple[str, str]] = []
        for record in self.table.decoded():
            holder = record.container, record.interface
            for address in record.addresses if record.container else ():
                if address not in self.files or hostlocal.holder(self.directory, address) != holder:
                    new = f"{self.directory}/address.{len(ready)}.new"
                    hostlocal.write(new, *holder, self._shared)
                    ready.append((new, f"{self.directory}/{address}"))
        self._contents.generation = self._latest + 1
        self._write_state(dump(self._contents), make_room)
        for new, path in ready:
            posix.rename(new, path)

    def _write_state(self, data: bytes, make_room: bool) -> None:
        try:
            self._replace_state(data)
        except OSError:
            if not (make_room and self._has_backup):
                raise
            self._give_up_backup()
            self._has_backup = False
            self._replace_state(data)

    def _replace_state(self, data: bytes) -> None:
        """Write ``state.new`` and rename it.

        The file that was ``state`` is the next ``state.new``, as to write into one that is there takes a
        fraction of the time that a new one does. Without a backup it is left alone: on disk it may still be
        the only copy.
        """
        state, new, former = (f"{self.directory}/{STATE}{suffix}" for suffix in ("", ".new", ".former"))
        if not (self._has_backup and _may_be_overwritten(new)):
            _remove(new)
        self._write_file(new, data, flush=not self._has_backup)
        _remove(former)  # left by a call that was killed; it may be the same file as state
        try:
            if self._has_backup:
                posix.link(state, former)
        except (FileNotFoundError, PermissionError):
            pass  # there is no state, or the file system has no links
        posix.rename(new, state)
        if _exists(former):
            posix.rename(former, new)

    def flush(self) -> None:
        """Wait until the table is on disk as it was read or written, without the lock. Raises OSError.

        One call makes the backup for all whose changes ``state`` has by then.
        """
        generation = self._contents.generation
        if not generation:
            return
        lock = self._take(SYNC)
        try:
            # Its size is 1 while a backup may be in place that is not on disk: a call was killed.
            if posix.fstat(lock).st_size == 0 and self._backup_generation() >= generation:
                return
            posix.ftruncate(lock, 1)
            self._back_up()
            posix.ftruncate(lock, 0)
        finally:
            posix.close(lock)

    def _backup_generation(self) -> int:
        try:
            descriptor = posix.open(f"{self.directory}/{BACKUP}", _READ)
        except FileNotFoundError:
            return -1
        try:
            return generation_of(posix.read(descriptor, HEAD))
        finally:
            posix.close(descriptor)

    def _back_up(self) -> None:
        """Copy ``state``, or, when there is no room for a copy, put ``state`` itself on disk."""
        backup = f"{self.directory}/{BACKUP}"
        data = self._whole_state()
        try:
            self._write_file(f"{backup}.new", data, flush=True)
        except OSError as problem:
            from errno import EDQUOT, EFBIG, ENOSPC  # noqa: PLC0415 - it is rarely needed

            if problem.errno not in (ENOSPC, EDQUOT, EFBIG):
                raise
            lock = self._take(LOCK)
            try:
                self._give_up_backup()
            finally:
                posix.close(lock)
        else:
            posix.rename(f"{backup}.new", backup)
            _flush(self.directory)

    def _whole_state(self) -> bytes:
        """The bytes of ``state``. Raises OSError when it is torn."""
        state = f"{self.directory}/{STATE}"
        data = hostlocal.read(state) or b""
        try:
            check(data)
        except ValueError:
            # Maybe two calls replaced it meanwhile, and the second one wrote into what was read.
            lock = self._take(LOCK)
            try:
                data = hostlocal.read(state) or b""
                check(data)
            except ValueError as problem:
                from errno import EIO  # noqa: PLC0415 - it is rarely needed

                raise OSError(EIO, str(problem), state) from None
            finally:
                posix.close(lock)
        return data

    def _give_up_backup(self) -> None:
        """Remove the backup as soon as ``state`` is on disk. The caller holds the network's lock."""
        _flush(f"{self.directory}/{STATE}")
        _flush(self.directory)
        _remove(f"{self.directory}/{BACKUP}")
        _flush(self.directory)

    def _write_file(self, path: str, data: bytes, flush: bool) -> None:
        descriptor = open_own(path, posix.O_WRONLY, self._shared)
        try:
            if posix.fstat(descriptor).st_size > len(data):
                posix.ftruncate(descriptor, len(data))
            while data:
                data = data[posix.write(descriptor, data) :]
            if flush:
                posix.fsync(descriptor)
        except OSError as problem:
            problem.filename = path
            posix.unlink(path)
            raise
        finally:
            posix.close(descriptor)


def _flush(path: str) -> None:
    """Wait until a file or a directory is on disk, if there is one."""
    try:
        descriptor = posix.open(path, _READ)
    except FileNotFoundError:
        return
    try:
        posix.fsync(descriptor)
    finally:
        posix.close(descriptor)


def _exists(path: str) -> bool:
    return posix.access(path, posix.F_OK)


def _may_be_overwritten(path: str) -> bool:
    """Whether it is a regular file without another name."""
    if not _exists(path):
        return False
    status = posix.lstat(path)
    return status.st_mode & 0o170000 == 0o100000 and status.st_nlink == 1


def _make(directory: str) -> None:
    """Make a directory, and those that it is in, where another call has not."""
    parent = directory.rpartition("/")[0]
    if parent and not _exists(parent):
        _make(parent)
    try:
        posix.mkdir(directory, 0o755)
    except FileExistsError:
        return


def _remove(path: str) -> None:
    if _exists(path):
        posix.unlink(path)
