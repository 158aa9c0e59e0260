"""The Go programs of tests/interop/clients: client-go's informers and kube-proxy."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

from tests.controlplane.build import CACHE

SOURCE = Path(__file__).parents[1] / "interop" / "clients"


@cache
def build(name: str) -> str:
    """The path of a program, built when it is not yet: minutes for the first."""
    CACHE.mkdir(parents=True, exist_ok=True)
    binary = CACHE / name
    subprocess.run(
        ["go", "build", "-trimpath", "-ldflags", "-s -w", "-o", str(binary), f"./{name}"],
        cwd=SOURCE,
        check=True,
        env={**os.environ, "CGO_ENABLED": "0"},
    )
    return str(binary)
