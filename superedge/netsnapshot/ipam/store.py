"""The allocations of all networks: what the command line and the edge process ask for and end."""

import posix

from superedge.netsnapshot.ipam import hostlocal
from superedge.netsnapshot.ipam.configuration import DIRECTORY, is_name
from superedge.netsnapshot.ipam.networkfile import BACKUP, STATE, NetworkFile, moment
from superedge.netsnapshot.ipam.records import Record


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
            names = posix.listdir(self.directory)
        except FileNotFoundError:
            return []
        return sorted(filter(self._is_network, names))

    def _is_network(self, name: str) -> bool:
        files = [f"{self.directory}/{name}/{each}" for each in (STATE, BACKUP)]
        return is_name(name) and any(posix.access(each, posix.F_OK) for each in files)

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
            file.flush()
            ended += [Reservation(name, each) for each in released]
        return ended
