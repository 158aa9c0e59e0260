"""Programs that ask by the resolver of a C library, statically linked so that they run in any container."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

COMPILERS = {"glibc": "gcc", "musl": "musl-gcc"}


def missing() -> list[str]:
    """The compilers that this machine does not have."""
    return [compiler for compiler in COMPILERS.values() if shutil.which(compiler) is None]


def build_resolvers(directory: Path) -> dict[str, Path]:
    """A program for each library whose compiler is there; ``resolve.c`` says what it does."""
    source = Path(__file__).with_name("resolve.c")
    found = {}
    for library, compiler in COMPILERS.items():
        if shutil.which(compiler) is not None:
            found[library] = directory / f"resolve-{library}"
            command = [compiler, "-static", "-O1", "-w", str(source), "-o", str(found[library])]
            subprocess.run(command, check=True, capture_output=True)
    return found
