"""Which pod has which addresses (pure): no files, no clock."""

from superedge.netsnapshot.ipam.addresses import Range, next_free, parse, range_for
from superedge.netsnapshot.ipam.documents import encode
from superedge.netsnapshot.ipam.errors import ALREADY_ALLOCATED, TRY_AGAIN, IPAMError
from superedge.netsnapshot.ipam.records import ATTACHED, RESERVED, Moment, Record

Entry = Record | str
"""A record, or its line in a file."""


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


def _decode(entries: list[Entry], text: str = "") -> None:
    """Decode the lines that have this text."""
    for index, each in enumerate(entries):
        if isinstance(each, str) and text in each:
            entries[index] = Record.of_line(each)


def _decoded(entries: list[Entry]) -> list[Record]:
    return [each for each in entries if not isinstance(each, str)]


def _addresses(entries: list[Entry]) -> set[str]:
    texts = [
        each.partition(" ")[0] if isinstance(each, str) else ",".join(each.addresses) for each in entries
    ]
    return set(",".join(texts).split(",")) if texts else set()


class Table:
    """All records of one network. ``last`` is the latest address of each range set, by its index as text.

    A record stays a line of the file until it is asked for, as an ADD or a DEL concerns few of them. Methods
    raise ValueError when they meet a line that is no record.
    """

    def __init__(self, lines: str = "", last: dict[str, str] | None = None) -> None:
        """``lines`` as from `lines`. Raises ValueError when they are something else."""
        first, *attached = lines.split(f"\n{ATTACHED} ")
        first, *reserved = first.split(f"\n{RESERVED} ")
        if first:
            raise ValueError("has a record that superedge-ipam does not write")
        self._lines = lines
        self._attached: list[Entry] = [*attached]
        self._reserved: list[Entry] = [*reserved]  # the oldest reservation first
        self.last = last or {}

    def lines(self) -> str:
        """The records as lines, each with a newline before it."""
        reserved = f"\n{RESERVED} ".join(["", *map(str, self._reserved)])
        return reserved + f"\n{ATTACHED} ".join(["", *map(str, self._attached)])

    def check(self) -> None:
        """Raises ValueError when a line is no record."""
        for each in (*self._attached, *self._reserved):
            if isinstance(each, str):
                Record.of_line(each)

    @property
    def records(self) -> list[Record]:
        """All of them, those that are attached first."""
        return self.decode()

    def decode(self, value: str = "") -> list[Record]:
        """The records that have this value, and maybe others; all of them when it is empty."""
        text = encode(value) if value else ""
        if text in self._lines:
            _decode(self._attached, text)
            _decode(self._reserved, text)
        return self.decoded()

    def decoded(self) -> list[Record]:
        """The records that were asked for: only these may differ from their lines."""
        return _decoded(self._attached) + _decoded(self._reserved)

    def taken(self) -> set[str]:
        """Every address that is attached or reserved."""
        return _addresses(self._attached) | _addresses(self._reserved)

    def attached_addresses(self) -> set[str]:
        """Every address that is attached."""
        return _addresses(self._attached)

    def attached(self, container: str, interface: str) -> Record | None:
        """The record of an attached container."""
        for each in self.decode(container):
            if each.is_of(container, interface):
                return each
        return None

    def append(self, record: Record) -> None:
        """Have one more record; a reservation is the latest of all."""
        (self._attached if record.container else self._reserved).append(record)

    def remove(self, record: Record) -> None:
        """End a record."""
        (self._attached if record.container else self._reserved).remove(record)

    def _owned(self, who: Attachment, keep: bool) -> Record | None:
        """The record whose addresses an attachment takes over.

        A reservation of an earlier pod of the same name ends here, unless ``keep`` says that it is inherited.
        """
        if not who.pod:
            return None
        own = [
            each
            for each in self.decode(who.pod)
            if each.pod == who.pod and each.namespace == who.namespace and each.interface == who.interface
        ]
        own.sort(key=lambda each: (each.uid != who.uid, not each.container))
        for each in own:
            if each.uid == who.uid or not each.uid or not who.uid:
                return each
        earlier = [each for each in own if not each.container]
        if keep and earlier:
            return earlier[-1]
        for each in earlier:
            self.remove(each)
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
            self.remove(same)
        if own is not None:
            self.remove(own)
        own = own or same or Record([], interface=who.interface)
        taken = self.taken()
        left = list(requested)
        chosen: list[tuple[str, Range]] = []
        for index, ranges in enumerate(sets):
            wanted = next((each for each in left if any(one.contains(*parse(each)) for one in ranges)), "")
            if wanted:
                left.remove(wanted)
                address = self._requested(wanted, ranges, taken)
            else:
                address = next((each for each in own.addresses if range_for(ranges, each)), "")
                if not address:
                    address = next_free(ranges, taken, self.last.get(str(index), ""))
                    address = address or self._evict(ranges)
                    self.last[str(index)] = address
            found = range_for(ranges, address)
            assert found is not None
            chosen.append((address, found))
        if left:
            raise IPAMError(TRY_AGAIN, f"requested address {left[0]} is in none of the network's ranges")
        own.addresses = [address for address, _ in chosen]
        if own.container != who.container:
            own.container, own.since = who.container, now.wall
        own.namespace, own.pod = who.namespace, who.pod
        own.uid, own.keep = who.uid or own.uid, keep
        self._attached.append(own)
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
        _decode(self._reserved)
        for record in _decoded(self._reserved):
            for address in record.addresses:
                if range_for(ranges, address):
                    record.addresses.remove(address)
                    if not record.addresses:
                        self._reserved.remove(record)
                    return address
        raise IPAMError(TRY_AGAIN, f"no address is free in {', '.join(map(str, ranges))}")

    def can_add(self, sets: list[list[Range]]) -> bool:
        """Whether a new pod would get an address of each range set."""
        taken = self.attached_addresses()
        return all(next_free(ranges, taken, "") for ranges in sets)

    def detach(self, record: Record, now: Moment) -> None:
        """Reserve a pod's addresses, or end the record when no pod is known."""
        self._attached.remove(record)
        if not record.pod:
            return
        record.container, record.since = "", now.wall
        record.boot, record.uptime = now.boot, now.uptime
        self._reserved.append(record)

    def expire(self, limit: int, now: Moment) -> bool:
        """End reservations that are older than ``limit`` seconds; whether there was one."""
        before = len(self._reserved)
        while self._reserved:
            first = self._reserved[0]
            oldest = Record.of_line(first) if isinstance(first, str) else first
            if oldest.age(now) < limit:
                break
            del self._reserved[0]
        return len(self._reserved) < before

    def release(self, namespace: str, pod: str, uid: str, kept: bool, attached: bool) -> list[Record]:
        """End what a pod has; see `store.Store.release`."""
        ended = [
            each
            for each in self.records
            if (each.namespace, each.pod) == (namespace, pod)
            and (not uid or not each.uid or each.uid == uid)
            and (attached if each.container else kept or not each.keep)
        ]
        for each in ended:
            self.remove(each)
        return ended
