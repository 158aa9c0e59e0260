"""kill -9 at random instants: what was acknowledged is there, batches are whole."""

from __future__ import annotations

import os
import random
import signal
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from superedge.interfaces import Change
from superedge.liteapiserver.stores.threads import BlockingStore

RECORDS = 5
LONGEST = 0.03
"""Seconds a writer lives at most."""


def _write(store: BlockingStore, first: int, acknowledge: int) -> NoReturn:
    """Every batch gives all records one value, the batch's number; each is reported once it is durable."""
    try:
        store.load()
        for number in range(first, first + 1_000_000):
            value = struct.pack(">Q", number) * 100
            store.apply([Change("object", ("record", str(each)), value) for each in range(RECORDS)])
            os.write(acknowledge, struct.pack(">Q", number))
    finally:
        os._exit(1)


def crash_rounds(make: Callable[[Path], BlockingStore], path: Path, rounds: int, seed: str) -> list[int]:
    """Write, kill, look, again; the number found after each. Raises AssertionError."""
    chance = random.Random(seed)
    found, history = 0, []
    for _ in range(rounds):
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            _write(make(path), found + 1, write_end)
        os.close(write_end)
        try:
            time.sleep(chance.uniform(0.0, LONGEST))
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        with os.fdopen(read_end, "rb") as reports:
            acknowledged = reports.read()
        durable = struct.unpack(">Q", acknowledged[-8:])[0] if acknowledged else found
        store = make(path)
        values = {entry.value for entry in store.load()}
        store.close()
        assert len(values) <= 1, "a batch is torn"
        value = values.pop() if values else struct.pack(">Q", 0)
        (number,) = struct.unpack(">Q", value[:8])
        assert value in (struct.pack(">Q", number) * 100, struct.pack(">Q", 0)), "a record is torn"
        assert number in (durable, durable + 1), f"acknowledged {durable}, found {number}"
        found = number
        history.append(number)
    return history
