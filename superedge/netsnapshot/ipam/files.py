"""A network's table as a file (pure): a header line with a checksum and JSON, and a line for each record.

`records.Record` has the form of a record's line, `allocation.Table` that of all of them.
"""

from binascii import crc32

from superedge.netsnapshot.ipam.allocation import Table
from superedge.netsnapshot.ipam.documents import decode, encode
from superedge.netsnapshot.ipam.records import FIELDS, Record

MAGIC = b"superedge-ipam/2 "
_FIRST_MAGIC = b"superedge-ipam/1 "
HEAD = 64


class Contents:
    """What a file holds. ``node`` is the id of the machine that wrote it.

    ``host_local`` is when host-local last allocated in this network, as far as the table knows: the
    modification time, in nanoseconds, of its file ``last_reserved_ip.0``.
    """

    __slots__ = ("generation", "host_local", "network", "node", "table")

    def __init__(
        self, network: str, node: str, table: Table, generation: int = 0, host_local: int = 0
    ) -> None:
        self.network = network
        self.node = node
        self.table = table
        self.generation = generation
        self.host_local = host_local


def dump(contents: Contents) -> bytes:
    """The file's bytes. ``fields`` says in which order a line has its values."""
    header = encode(
        {
            "network": contents.network,
            "node": contents.node,
            "host_local": contents.host_local,
            "last": contents.table.last,
            "fields": FIELDS,
        }
    )
    signed = f"{contents.generation} {header}{contents.table.lines()}\n".encode()
    return b"%b%08x %b" % (MAGIC, crc32(signed), signed)


def generation_of(data: bytes) -> int:
    """The generation in a file's first `HEAD` bytes; -1 if there is none."""
    number = data[:HEAD].split(b" ", 3)[2:3]
    return int(number[0]) if number and number[0].isdigit() else -1


def check(data: bytes) -> None:
    """Raises ValueError when a file's checksum does not match, or it has none."""
    if not data.startswith((MAGIC, _FIRST_MAGIC)):
        raise ValueError("is not a file of superedge-ipam")
    start = len(MAGIC) + 9
    if data[len(MAGIC) : start] != b"%08x " % crc32(memoryview(data)[start:]):
        raise ValueError("is torn: its checksum does not match")


def load(data: bytes) -> Contents:
    """The contents of a file. Raises ValueError when it is torn, or is none of these files."""
    check(data)
    contents = parse(data)
    contents.table.check()
    return contents


def parse(data: bytes) -> Contents:
    """The contents of a file whose checksum matches; what is no record comes to light later.

    Raises ValueError when nothing that is known wrote it.
    """
    _, _, generation, body = data.decode().split(" ", 3)
    header, _, _ = body.partition("\n")
    found = decode(header)
    first = data.startswith(_FIRST_MAGIC)
    if not isinstance(found, dict) or found.get("fields") != list(_FIRST_FIELDS if first else FIELDS):
        raise ValueError("is of another version of superedge-ipam")
    try:
        table = _first_version(found["records"]) if first else Table(body[len(header) : -1])
        table.last = found["last"]
        return Contents(found["network"], found["node"], table, int(generation), found["host_local"])
    except (LookupError, TypeError):
        raise ValueError("has a header that superedge-ipam does not write") from None


_FIRST_FIELDS = (*FIELDS[:-1], "order", FIELDS[-1])


def _first_version(records: list[list[object]]) -> Table:
    """The table of a file that has its records in its header; ``order`` numbers reservations."""
    table = Table()
    records.sort(key=lambda each: each[-2])  # type: ignore[arg-type,return-value]
    for *values, _, keep in records:
        table.append(Record.of_line(str(Record(*values, keep))))  # type: ignore[call-arg,arg-type]
    return table
