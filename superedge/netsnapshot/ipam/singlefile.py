"""The plugin as one executable file, for /opt/cni/bin: a zip archive of this package behind a ``#!`` line.

``python -m superedge.netsnapshot.ipam.singlefile FILE`` makes it.

The ``#!`` line imports from the archive by itself. An interpreter that is given an archive to run imports
half a dozen modules first, to find out what it has.
"""

from __future__ import annotations

import io
import os
import py_compile
import sys
import tempfile
import zipfile
from pathlib import Path

NAME = "superedge-ipam"
_MAIN = "from superedge.netsnapshot.ipam.plugin import main\nmain()\n"
_PACKAGES = ("superedge", "superedge/netsnapshot", "superedge/netsnapshot/ipam")
# Kernels before 5.1 read 127 characters.
_LIMIT = 127


def interpreter() -> str:
    """The interpreter that runs now, outside of its virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def build(python: str) -> bytes:
    """The file's bytes, to be run by an interpreter with this absolute path. Raises ValueError."""
    first = f"#!{python} -IScimport sys;sys.path[:0]=sys.argv[1:2];import plugin_main\n"
    if not python.startswith("/") or " " in python or len(first) > _LIMIT:
        raise ValueError(
            f"{python!r} must be an absolute path without spaces, of at most {_LIMIT - 65} characters"
        )
    here = Path(__file__).parent
    sources = {
        f"{_PACKAGES[-1]}/{path.name}": path.read_text(encoding="utf-8")
        for path in sorted(here.glob("*.py"))
        if path.name not in (Path(__file__).name, "__init__.py")
    }
    sources |= {f"{package}/__init__.py": "" for package in _PACKAGES}
    sources |= {"plugin_main.py": _MAIN, "__main__.py": _MAIN}
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as target, tempfile.TemporaryDirectory() as directory:
        for name, source in sources.items():
            # The compiled form is for this version of Python; others compile the source each time.
            path = Path(directory, "source.py")
            path.write_text(source, encoding="utf-8")
            compiled = py_compile.compile(
                str(path),
                dfile=name,
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
            )
            assert compiled is not None
            target.writestr(zipfile.ZipInfo(f"{name}c"), Path(compiled).read_bytes())
            target.writestr(zipfile.ZipInfo(name), source)
    return first.encode() + archive.getvalue()


def install(target: Path, python: str) -> None:
    """Put the file into place in one step, executable. Raises OSError and ValueError."""
    data = build(python)
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(descriptor, 0o755)
            os.fsync(descriptor)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


if __name__ == "__main__":
    install(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else interpreter())
