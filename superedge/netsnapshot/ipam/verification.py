"""What is wrong with a network's table (pure)."""

from superedge.netsnapshot.ipam.addresses import Range, range_for
from superedge.netsnapshot.ipam.allocation import Table
from superedge.netsnapshot.ipam.records import Record


def _holder(record: Record) -> str:
    return f"pod {record.namespace}/{record.pod}" if record.pod else f"container {record.container}"


def problems(table: Table, files: set[str], sets: list[list[Range]]) -> list[str]:
    """A sentence for each address that two hold, that has no file, or that no range allows.

    ``files`` are the addresses that have a file of host-local's. ``sets`` may be empty: then ranges are not
    checked.
    """
    found = []
    holders: dict[str, Record] = {}
    ranges = [each for one in sets for each in one]
    for record in table.records:
        for address in record.addresses:
            if address in holders:
                first, second = _holder(holders[address]), _holder(record)
                found.append(f"{address} belongs to {first} and to {second}")
            holders[address] = record
            if record.container and address not in files:
                found.append(f"{address} of {_holder(record)} has no file; the next ADD or DEL writes it")
            if ranges and not range_for(ranges, address):
                found.append(f"{address} of {_holder(record)} is in none of the ranges")
    return found
