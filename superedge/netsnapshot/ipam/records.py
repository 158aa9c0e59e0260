"""A pod's addresses, as an object and as a line of a file (pure)."""

from superedge.netsnapshot.ipam.documents import decode, encode

ATTACHED = "attached"
RESERVED = "reserved"
_ADDRESS_CHARACTERS = set("0123456789abcdef.:,")


class Moment:
    """A point in time: seconds since 1970, and seconds since the boot of this id.

    Limits count uptime, because the clock of a node may be wrong after a power cut.
    """

    __slots__ = ("boot", "uptime", "wall")

    def __init__(self, wall: int, boot: str, uptime: int) -> None:
        self.wall = wall
        self.boot = boot
        self.uptime = uptime


class Record:
    """Addresses of one pod's interface, or of one container's when no pod is known.

    ``container`` is empty when nothing is attached and the addresses are reserved for the pod. ``since`` is
    when that state began, in seconds since 1970; ``boot`` and ``uptime`` say the same for a reservation.
    ``keep`` says that a pod of the same name and another uid inherits.
    """

    __slots__ = (  # noqa: RUF023 - the order of the parameters
        "addresses",
        "container",
        "interface",
        "namespace",
        "pod",
        "uid",
        "since",
        "boot",
        "uptime",
        "keep",
    )

    def __init__(
        self,
        addresses: list[str],
        container: str = "",
        interface: str = "",
        namespace: str = "",
        pod: str = "",
        uid: str = "",
        since: int = 0,
        boot: str = "",
        uptime: int = 0,
        keep: bool = False,
    ) -> None:
        self.addresses = addresses
        self.container = container
        self.interface = interface
        self.namespace = namespace
        self.pod = pod
        self.uid = uid
        self.since = since
        self.boot = boot
        self.uptime = uptime
        self.keep = keep

    @classmethod
    def of_line(cls, line: str) -> "Record":
        """The record that `__str__` made a line of. Raises ValueError when none did."""
        addresses, _, rest = line.partition(" ")
        try:
            values = decode(rest)
        except ValueError:
            values = None
        # An address becomes the name of a file.
        are_addresses = addresses and _ADDRESS_CHARACTERS.issuperset(addresses)
        if not are_addresses or not isinstance(values, list) or len(values) != len(FIELDS) - 1:
            raise ValueError("has a record that superedge-ipam does not write")
        return cls(addresses.split(","), *values)

    def __str__(self) -> str:
        """A line: the addresses with commas between, a space, and the other values in a JSON list."""
        return f"{','.join(self.addresses)} {encode([getattr(self, each) for each in FIELDS[1:]])}"

    @property
    def state(self) -> str:
        """Attached or reserved."""
        return ATTACHED if self.container else RESERVED

    def is_of(self, container: str, interface: str) -> bool:
        """Whether this container's interface is attached."""
        return self.container == container and self.interface == interface

    def age(self, now: Moment) -> int:
        """Seconds of uptime since it was reserved; of a reservation from before the boot, since the boot."""
        return now.uptime - self.uptime if self.boot == now.boot else now.uptime


FIELDS = Record.__slots__
