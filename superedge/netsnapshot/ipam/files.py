"""A network's table as a file (pure): a header line with a checksum, and JSON."""

from binascii import crc32

from superedge.netsnapshot.ipam.addresses import canonical
from superedge.netsnapshot.ipam.allocation import Record, Table
from superedge.netsnapshot.ipam.documents import decode, encode

MAGIC = "superedge-ipam/1"


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


def _record(record: Record) -> dict[str, object]:
    """A record's fields that are not at their default."""
    found: dict[str, object] = {"addresses": record.addresses}
    for key in Record.__slots__:
        value = getattr(record, key)
        if value and key != "addresses":
            found[key] = value
    return found


def dump(contents: Contents) -> bytes:
    """The file's bytes."""
    body = encode(
        {
            "network": contents.network,
            "node": contents.node,
            "host_local": contents.host_local,
            "last": contents.table.last,
            "records": [_record(each) for each in contents.table.records],
        }
    )
    signed = f"{contents.generation} {body}\n"
    return f"{MAGIC} {crc32(signed.encode()):08x} {signed}".encode()


def load(data: bytes) -> Contents:
    """The contents of a file. Raises ValueError when it is torn, or is none of these files."""
    magic, _, rest = data.partition(b" ")
    checksum, _, signed = rest.partition(b" ")
    if magic != MAGIC.encode():
        raise ValueError("is not a file of superedge-ipam")
    if checksum != f"{crc32(signed):08x}".encode():
        raise ValueError("is torn: its checksum does not match")
    generation, _, body = signed.partition(b" ")
    found = decode(body.decode())
    try:
        assert isinstance(found, dict)
        records = [Record(**each) for each in found["records"]]
        for record in records:
            record.addresses = [canonical(each) for each in record.addresses]
        table = Table(records, found["last"])
        return Contents(found["network"], found["node"], table, int(generation), found["host_local"])
    except (AssertionError, KeyError, TypeError) as problem:
        raise ValueError(f"has another format: {problem}") from None
