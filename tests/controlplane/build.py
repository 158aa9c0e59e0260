"""Builds the programs, once: they stay in a cache that a stamp keeps true to the sources."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("SUPEREDGE_CACHE", Path.home() / ".cache" / "superedge"))
BINARY = CACHE / "controlplane"
CONTAINERD = "v2.4.2"
RUNTIME = ("containerd", "containerd-shim-runc-v2", "ctr")
SOURCES = ("go.mod", "go.sum", "hollow.go", "main.go")


def _stamp() -> str:
    digest = hashlib.sha256(CONTAINERD.encode())
    for name in SOURCES:
        digest.update((HERE / name).read_bytes())
    return digest.hexdigest()


def _go(*arguments: str, **environment: str) -> None:
    """Run go, and say every half minute that it is still at it."""
    started = time.monotonic()
    process = subprocess.Popen(
        ["go", *arguments], cwd=HERE, env={**os.environ, "CGO_ENABLED": "0", **environment}
    )
    while True:
        try:
            code = process.wait(30)
            break
        except subprocess.TimeoutExpired:
            print(f"  still building after {time.monotonic() - started:.0f} s", flush=True)
    if code:
        sys.exit(f"go {arguments[0]} failed with code {code}")


def _version() -> str:
    lines = (HERE / "go.mod").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("\tk8s.io/kubernetes v"))


def build() -> None:
    """Make what is missing or out of date. Ends the process when go fails."""
    stamp_file = CACHE / "stamp"
    programs = [BINARY, *(CACHE / name for name in RUNTIME)]
    stamp = _stamp()
    if all(path.exists() for path in programs) and stamp_file.exists() and stamp_file.read_text() == stamp:
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    version = _version()
    print(f"building Kubernetes {version} and containerd {CONTAINERD} (minutes, once)", flush=True)
    package = "k8s.io/component-base/version"
    minor = version.split(".")[1]
    flags = f"-s -w -X {package}.gitVersion={version} -X {package}.gitMajor=1 -X {package}.gitMinor={minor}"
    _go("build", "-trimpath", "-ldflags", flags, "-o", str(BINARY), ".")
    for name in RUNTIME:
        package = f"github.com/containerd/containerd/v2/cmd/{name}@{CONTAINERD}"
        _go("install", "-trimpath", package, GOBIN=str(CACHE))
    stamp_file.write_text(stamp)
    print(f"built into {CACHE}", flush=True)
