"""Reads the node's network in a process of its own, which takes pyroute2's 9 MB with it when it ends.

The process is ``python -m superedge.netsnapshot.read``: it reads a `Request` from standard input and writes a
`Capture` to standard output, both in JSON.
"""

from __future__ import annotations

import resource
import subprocess
import sys

import msgspec

from superedge.errors import SuperEdgeError
from superedge.kube.errors import JSON_FAULTS
from superedge.netsnapshot.facts import Device, Facts

TIMEOUT = 60.0


class CaptureError(SuperEdgeError):
    """The network could not be read; ``seconds`` of CPU time were spent on it."""

    def __init__(self, problem: object, seconds: float = 0.0) -> None:
        super().__init__(f"the network cannot be read: {problem}")
        self.seconds = seconds


class Request(msgspec.Struct, frozen=True):
    """What to read: devices but those of ``exclude``, text files, superedge-ipam's directory."""

    exclude: list[str]
    files: list[str]
    ipam: str


class Capture(msgspec.Struct, frozen=True):
    """The network at one time; ``faults`` has a sentence for each file that could not be read."""

    facts: Facts
    devices: dict[int, Device]
    files: dict[str, str]
    ipam: dict[str, str]
    faults: list[str]
    seconds: float
    """Seconds of CPU time that it took."""


def capture(request: Request) -> Capture:
    """Run the process and wait for it. Raises CaptureError."""
    before = _seconds_of_children()
    command = [sys.executable, "-P", "-m", "superedge.netsnapshot.read"]
    try:
        done = subprocess.run(
            command,
            input=msgspec.json.encode(request),
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        text = f"no end within {TIMEOUT:.0f} s" if isinstance(problem, subprocess.TimeoutExpired) else problem
        raise CaptureError(text, _seconds_of_children() - before) from problem
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise CaptureError(last or f"exit code {done.returncode}", _seconds_of_children() - before)
    try:
        return msgspec.json.decode(done.stdout, type=Capture)
    except JSON_FAULTS as problem:
        raise CaptureError(problem, _seconds_of_children() - before) from problem


def _seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
