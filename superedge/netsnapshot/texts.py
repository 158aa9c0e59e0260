"""Text files that belong to a snapshot: small ones, and superedge-ipam's state."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from superedge.netsnapshot.ipam.files import check

MAX_FILE = 64 * 1024
"""Maximum bytes of a text file."""
TRIES = 3
"""Times that a state is read whose checksum does not match."""
MAX_STATE = 4 * 1024 * 1024
"""Maximum bytes of the state of one network of superedge-ipam."""


def read_texts(paths: Iterable[Path], limit: int, faults: list[str]) -> dict[str, str]:
    """The files that are there, by path; a sentence in ``faults`` for each that cannot be read."""
    found = {}
    for path in paths:
        try:
            with open(path, "rb", opener=_open) as file:
                data = file.read(limit + 1)
            if len(data) > limit:
                faults.append(f"{path} has more than {limit} bytes")
            else:
                found[str(path)] = data.decode()
        except FileNotFoundError:
            continue
        except OSError as problem:
            faults.append(f"{path} cannot be read: {problem.strerror}")
        except UnicodeDecodeError:
            faults.append(f"{path} is not text in UTF-8")
    return found


def _open(path: str, flags: int) -> int:
    """A pipe in the place of a file is not waited for."""
    return os.open(path, flags | os.O_NONBLOCK)


def read_ipam(directory: Path, faults: list[str]) -> dict[str, str]:
    """The state of each network of superedge-ipam, by the network's name."""
    try:
        networks = sorted(os.listdir(directory))
    except FileNotFoundError:
        return {}
    except OSError as problem:
        faults.append(f"{directory} cannot be read: {problem.strerror}")
        return {}
    found: dict[str, str] = {}
    for network in networks:
        # The plugin writes into a file that was the state two calls ago, maybe while that is read here.
        for _ in range(TRIES):
            said: list[str] = []
            texts = read_texts([directory / network / "state"], MAX_STATE, said)
            if all(map(_is_whole, texts.values())):
                break
        found |= {Path(path).parent.name: text for path, text in texts.items()}
        faults += said
    return found


def _is_whole(state: str) -> bool:
    try:
        check(state.encode())
    except ValueError:
        return False
    return True
