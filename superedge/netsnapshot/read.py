"""The process that reads the node's network for `superedge.netsnapshot.capture`."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

import msgspec
from pyroute2 import IPRoute

from superedge.netsnapshot.capture import Capture, Request
from superedge.netsnapshot.facts import Device
from superedge.netsnapshot.listing import IFF_PROMISC, IFF_UP, kind_of, read_facts
from superedge.netsnapshot.rtnetlink import dump
from superedge.netsnapshot.texts import MAX_FILE, read_ipam, read_texts


def read(request: Request) -> Capture:
    """The network of this process's namespace, and the files. Raises OSError."""
    with IPRoute() as netlink:
        messages = dump(netlink)
    facts = read_facts(messages, request.exclude)
    names = {each.name for each in facts.links}
    devices = {
        each.get("index"): Device(
            each.get("ifname"),
            each.get("flags") & (IFF_UP | IFF_PROMISC),
            each.get("mtu"),
            "" if kind_of(each) == "bridge" else each.get("address") or "",
            each.get("master") or 0,
        )
        for each in messages.links
        if each.get("ifname") in names
    }
    faults: list[str] = []
    files = read_texts(map(Path, request.files), MAX_FILE, faults)
    ipam = read_ipam(Path(request.ipam), faults)
    times = os.times()
    return Capture(facts, devices, files, ipam, faults, times.user + times.system)


if __name__ == "__main__":
    with contextlib.suppress(OSError):
        os.nice(5)
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    sys.stdout.buffer.write(msgspec.json.encode(read(asked)))
