"""A network's table as a file (pure): a header line with a checksum, and JSON."""

from _operator import attrgetter
from binascii import crc32

from superedge.netsnapshot.ipam.allocation import Record, Table
from superedge.netsnapshot.ipam.documents import decode, encode

MAGIC = "superedge-ipam/1"
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


_FIELDS = list(Record.__slots__)
_values = attrgetter(*_FIELDS)
_ADDRESS_CHARACTERS = set("0123456789abcdef.:")


def dump(contents: Contents) -> bytes:
    """The file's bytes. A record is a list of values, in the order that ``fields`` gives."""
    body = encode(
        {
            "network": contents.network,
            "node": contents.node,
            "host_local": contents.host_local,
            "last": contents.table.last,
            "fields": _FIELDS,
            "records": [_values(each) for each in contents.table.records],
        }
    )
    signed = f"{contents.generation} {body}\n"
    return f"{MAGIC} {crc32(signed.encode()):08x} {signed}".encode()


def generation_of(data: bytes) -> int:
    """The generation in a file's first `HEAD` bytes; -1 if there is none."""
    number = data[:HEAD].split(b" ", 3)[2:3]
    return int(number[0]) if number and number[0].isdigit() else -1


def check(data: bytes) -> memoryview:
    """What the checksum is of: the generation and the JSON. Raises ValueError when it does not match."""
    head = len(MAGIC) + 10
    if data[: head - 9] != MAGIC.encode() + b" ":
        raise ValueError("is not a file of superedge-ipam")
    signed = memoryview(data)[head:]
    if data[head - 9 : head] != f"{crc32(signed):08x} ".encode():
        raise ValueError("is torn: its checksum does not match")
    return signed


def load(data: bytes) -> Contents:
    """The contents of a file. Raises ValueError when it is torn, or is none of these files."""
    return parse(check(data))


def parse(signed: memoryview) -> Contents:
    """The contents from what the checksum is of. Raises ValueError when nothing that is known wrote it."""
    generation, _, body = str(signed, "utf-8").partition(" ")
    found = decode(body)
    if not isinstance(found, dict) or found.get("fields") != _FIELDS:
        raise ValueError("is of another version of superedge-ipam")
    try:
        table = Table([Record(*each) for each in found["records"]], found["last"])
        contents = Contents(found["network"], found["node"], table, int(generation), found["host_local"])
        # An address becomes the name of a file.
        are_addresses = _ADDRESS_CHARACTERS.issuperset("".join(table.taken()))
    except (KeyError, TypeError):
        are_addresses = False
    if not are_addresses:
        raise ValueError("has a record that superedge-ipam does not write")
    return contents
