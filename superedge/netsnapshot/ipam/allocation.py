"""Which pod has which addresses (pure): no files, no clock."""

from superedge.netsnapshot.ipam.addresses import Range, next_free, parse, range_for
from superedge.netsnapshot.ipam.errors import ALREADY_ALLOCATED, TRY_AGAIN, IPAMError

ATTACHED = "attached"
RESERVED = "reserved"


class Moment:
    """A point in time: seconds since 1970, and seconds since the boot of this id.

    Limits count uptime, because the clock of a node may be wrong after a power cut.
    """

    __slots__ = ("boot", "uptime", "wall")

    def __init__(self, wall: int, boot: str, uptime: int) -> None:
        self.wall = wall
        self.boot = boot
        self.uptime = uptime


class Attachment:
    """Who asks: a container's interface, and the pod that it is the sandbox of.

    ``namespace`` and ``pod`` are empty when the runtime does not say, and ``uid`` when it does not know.
    """

    __slots__ = ("container", "interface", "namespace", "pod", "uid")

    def __init__(
        self, container: str, interface: str, namespace: str = "", pod: str = "", uid: str = ""
    ) -> None:
        self.container = container
        self.interface = interface
        self.namespace = namespace
        self.pod = pod
        self.uid = uid


class Record:
    """Addresses of one pod's interface, or of one container's when no pod is known.

    ``container`` is empty when nothing is attached and the addresses are reserved for the pod. ``since`` is
    when that state began, in seconds since 1970; ``boot`` and ``uptime`` say the same for a reservation, and
    ``order`` numbers reservations from the oldest on. ``keep`` says that a pod of the same name and another
    uid inherits.
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
        "order",
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
        order: int = 0,
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
        self.order = order
        self.keep = keep

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


class Table:
    """All records of one network. ``last`` is the latest address of each range set, by its index as text."""

    def __init__(self, records: list[Record] | None = None, last: dict[str, str] | None = None) -> None:
        self.records = records or []
        self.last = last or {}

    def taken(self) -> set[str]:
        """Every address that is attached or reserved."""
        return {address for record in self.records for address in record.addresses}

    def attached(self, container: str, interface: str) -> Record | None:
        """The record of an attached container."""
        for each in self.records:
            if each.container == container and each.interface == interface:
                return each
        return None

    def _owned(self, who: Attachment, keep: bool) -> Record | None:
        """The record whose addresses an attachment takes over.

        A reservation of an earlier pod of the same name ends here, unless ``keep`` says that it is inherited.
        """
        if not who.pod:
            return None
        own = [
            each
            for each in self.records
            if each.pod == who.pod and each.namespace == who.namespace and each.interface == who.interface
        ]
        own.sort(key=lambda each: (each.uid != who.uid, not each.container))
        for each in own:
            if each.uid == who.uid or not each.uid or not who.uid:
                return each
        earlier = [each for each in own if not each.container]
        if keep and earlier:
            return max(earlier, key=lambda each: each.order)
        for each in earlier:
            self.records.remove(each)
        return None

    def add(
        self, who: Attachment, sets: list[list[Range]], requested: list[str], keep: bool, now: Moment
    ) -> list[tuple[str, Range]]:
        """Allocate one address of each range set. Raises IPAMError, and then the table must not be kept.

        A pod that is known gets what it had, as far as that is still in the ranges. Otherwise the address is
        one of those requested, the next free one, or, when none is free, the one that was reserved first.
        """
        own = self._owned(who, keep)
        same = self.attached(who.container, who.interface)
        if same is not None and same is not own:
            if not who.pod:
                text = f"container {who.container} has {', '.join(same.addresses)} on {who.interface} already"
                raise IPAMError(ALREADY_ALLOCATED, text)
            self.records.remove(same)
            if own is None:
                own = same
        mine = own.addresses if own else []
        taken = self.taken().difference(mine)
        left = list(requested)
        chosen: list[tuple[str, Range]] = []
        for index, ranges in enumerate(sets):
            wanted = next((each for each in left if any(one.contains(*parse(each)) for one in ranges)), "")
            if wanted:
                left.remove(wanted)
                address = self._requested(wanted, ranges, taken)
            else:
                address = next((each for each in mine if range_for(ranges, each)), "")
                if not address:
                    address = next_free(ranges, taken, self.last.get(str(index), ""))
                    address = address or self._evict(ranges)
                    self.last[str(index)] = address
            found = range_for(ranges, address)
            assert found is not None
            chosen.append((address, found))
        if left:
            raise IPAMError(TRY_AGAIN, f"requested address {left[0]} is in none of the network's ranges")
        if own is None or own not in self.records:
            own = Record([], interface=who.interface)
            self.records.append(own)
        own.addresses = [address for address, _ in chosen]
        if own.container != who.container:
            own.container, own.since = who.container, now.wall
        own.namespace, own.pod = who.namespace, who.pod
        own.uid, own.keep = who.uid or own.uid, keep
        return chosen

    def _requested(self, address: str, ranges: list[Range], taken: set[str]) -> str:
        if not range_for(ranges, address):
            raise IPAMError(TRY_AGAIN, f"requested address {address} is the gateway or excluded")
        if address in taken:
            holder = next(each for each in self.records if address in each.addresses)
            whose = f"pod {holder.namespace}/{holder.pod}" if holder.pod else f"container {holder.container}"
            raise IPAMError(TRY_AGAIN, f"requested address {address} is {holder.state} for {whose}")
        return address

    def _evict(self, ranges: list[Range]) -> str:
        """Take an address from the reservation that was made first."""
        for record in sorted(
            (each for each in self.records if not each.container), key=lambda each: each.order
        ):
            for address in record.addresses:
                if range_for(ranges, address):
                    record.addresses.remove(address)
                    if not record.addresses:
                        self.records.remove(record)
                    return address
        raise IPAMError(TRY_AGAIN, f"no address is free in {', '.join(map(str, ranges))}")

    def can_add(self, sets: list[list[Range]]) -> bool:
        """Whether a new pod would get an address of each range set."""
        taken = {address for record in self.records if record.container for address in record.addresses}
        return all(next_free(ranges, taken, "") for ranges in sets)

    def detach(self, record: Record, now: Moment) -> None:
        """Reserve a pod's addresses, or end the record when no pod is known."""
        if not record.pod:
            self.records.remove(record)
            return
        record.container, record.since = "", now.wall
        record.boot, record.uptime = now.boot, now.uptime
        record.order = 1 + max(each.order for each in self.records)

    def expire(self, limit: int, now: Moment) -> bool:
        """End reservations that are older than ``limit`` seconds; whether there was one."""
        kept = [each for each in self.records if each.container or each.age(now) < limit]
        ended = len(kept) < len(self.records)
        self.records = kept
        return ended

    def release(self, namespace: str, pod: str, uid: str, kept: bool, attached: bool) -> list[Record]:
        """End what a pod has; see `store.Store.release`."""
        ended = [
            each
            for each in self.records
            if (each.namespace, each.pod) == (namespace, pod)
            and (not uid or not each.uid or each.uid == uid)
            and (attached if each.container else kept or not each.keep)
        ]
        self.records = [each for each in self.records if each not in ended]
        return ended
