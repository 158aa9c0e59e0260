"""The files of the plugin host-local, in the directory that both plugins share.

There is one for each address of an attached container: its name is the address, its content the container's
id, CRLF and the interface. host-local goes by them alone, so either plugin can follow the other when the
configuration's ``type`` changes.
"""

import posix

from superedge.netsnapshot.ipam.addresses import canonical
from superedge.netsnapshot.ipam.allocation import Attachment, Table
from superedge.netsnapshot.ipam.documents import decode
from superedge.netsnapshot.ipam.records import Moment, Record
from superedge.netsnapshot.ipam.sharing import open_own

RESULTS = "/var/lib/cni/results"
"""Where container runtimes keep the result of each ADD, with its CNI_ARGS (libcni's cache)."""
_LAST = "last_reserved_ip."


def read(path: str, links: int = posix.O_NOFOLLOW) -> bytes | None:
    """A file's bytes; None when there is none. ``links`` may be 0: then it follows a link. Raises OSError."""
    flags = posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK  # a pipe is not waited for
    try:
        descriptor = posix.open(path, flags | links)
    except FileNotFoundError:
        return None
    try:
        return read_all(descriptor)
    except OSError as problem:
        problem.filename = path
        raise
    finally:
        posix.close(descriptor)


def read_all(descriptor: int) -> bytes:
    """The bytes up to the end of a file or pipe. Raises OSError."""
    parts = []
    while part := posix.read(descriptor, 1 << 16):
        parts.append(part)
    return b"".join(parts)


def files(directory: str, known: set[str]) -> set[str]:
    """The addresses that have a file; ``known`` are some that need no check."""
    names = set(posix.listdir(directory))
    found = names & known
    for name in names - known:
        if name[0] in "0123456789abcdef:":
            try:
                if canonical(name) == name:
                    found.add(name)
            except ValueError:
                continue
    return found


def holder(directory: str, address: str) -> tuple[str, str] | None:
    """The container and the interface of an address's file; None when they were never written."""
    container, _, interface = (
        (read(f"{directory}/{address}") or b"").decode(errors="replace").partition("\r\n")
    )
    container = container.strip()
    # Old versions wrote the container alone.
    return (container, interface.strip() or "eth0") if container else None


def write(path: str, container: str, interface: str, shared: bool = False) -> None:
    """Make or overwrite a file for an address that this container has. Raises OSError."""
    descriptor = open_own(path, posix.O_WRONLY | posix.O_TRUNC, shared)
    try:
        posix.write(descriptor, f"{container}\r\n{interface}".encode())
    except OSError as problem:
        problem.filename = path
        raise
    finally:
        posix.close(descriptor)


def latest(directory: str) -> int:
    """When host-local last allocated in this network, in nanoseconds since 1970; 0 when it never did."""
    try:
        return posix.stat(f"{directory}/{_LAST}0").st_mtime_ns
    except FileNotFoundError:
        return 0


def last_addresses(directory: str) -> dict[str, str]:
    """The address that host-local allocated last, by range set."""
    found = {}
    for name in posix.listdir(directory):
        if name.startswith(_LAST):
            try:
                found[name.removeprefix(_LAST)] = canonical((read(f"{directory}/{name}") or b"").decode())
            except ValueError:
                continue
    return found


def attachment(results: str, network: str, container: str, interface: str) -> Attachment:
    """A container's attachment, with its pod when the runtime has kept the result of its ADD."""
    who = Attachment(container, interface)
    try:
        found = decode((read(f"{results}/{network}-{container}-{interface}") or b"null").decode())
    except (OSError, ValueError):
        return who
    pairs = found.get("cniArgs") if isinstance(found, dict) else None
    if isinstance(pairs, list):
        args = {each[0]: each[1] for each in pairs if isinstance(each, list) and len(each) == 2}
        namespace, pod, uid = (args.get(f"K8S_POD_{key}", "") for key in ("NAMESPACE", "NAME", "UID"))
        if namespace and pod:
            who.namespace, who.pod, who.uid = str(namespace), str(pod), str(uid)
    return who


def adopt(table: Table, directory: str, network: str, addresses: set[str], results: str, now: Moment) -> None:
    """Take over the allocations in the files of these addresses. A file wins over what the table says."""
    records = table.records
    holders = {address: each for each in records for address in each.addresses}
    attached = {(each.container, each.interface): each for each in records if each.container}
    for address in sorted(addresses):
        found = holder(directory, address)
        if found is None:
            continue
        other = holders.get(address)
        if other is not None:
            if other.is_of(*found):
                continue
            other.addresses.remove(address)
            if not other.addresses:
                table.remove(other)
                attached.pop((other.container, other.interface), None)
        record = attached.get(found)
        if record is None:
            who = attachment(results, network, *found)
            record = attached[found] = Record([], *found, who.namespace, who.pod, who.uid, now.wall)
            table.append(record)
        record.addresses.append(address)
