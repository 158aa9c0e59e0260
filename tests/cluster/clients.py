"""Go programs: CoreDNS, and client-go's informers and kube-proxy of tests/interop/clients."""

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


@cache
def install(package: str, version: str) -> str:
    """The path of a published program, built when it is not yet: minutes."""
    name = package.rpartition("/")[2]
    directory = CACHE / f"{name}-{version}"
    binary = directory / name
    if not binary.exists():
        subprocess.run(
            ["go", "install", "-trimpath", "-ldflags", "-s -w", f"{package}@{version}"],
            check=True,
            env={**os.environ, "CGO_ENABLED": "0", "GOBIN": str(directory)},
        )
    return str(binary)
