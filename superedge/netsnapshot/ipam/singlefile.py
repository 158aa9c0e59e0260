"""The plugin as one executable file, for /opt/cni/bin.

``python -m superedge.netsnapshot.ipam.singlefile FILE`` makes it. The file has a ``#!`` line, a line of
Python, code compiled for the version of Python that makes the file, and a zip archive of the source.

The ``#!`` line runs the second line, and that the compiled code. All modules are in one piece, because each
takes as long to find and read as to run. Another version of Python imports the archive, whose source it
compiles each time; so does an interpreter that is given the file to run.
"""

from __future__ import annotations

import io
import marshal
import os
import sys
import tempfile
import zipfile
from importlib.util import MAGIC_NUMBER
from pathlib import Path

NAME = "superedge-ipam"
_PACKAGE = "superedge.netsnapshot.ipam"
_MODULES = (
    "errors",
    "addresses",
    "documents",
    "records",
    "allocation",
    "configuration",
    "sharing",
    "hostlocal",
    "files",
    "networkfile",
    "plugin",
)
"""What the plugin has, each after those that it imports."""
_LOADER = """\
import sys
for name, code in modules:
    module = sys.modules[name] = type(sys)(name)
    parent, _, own = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], own, module)
    exec(code, vars(module))
module.main()
"""
# Kernels before 5.1 read 127 characters.
_LIMIT = 127


def interpreter() -> str:
    """The interpreter that runs now, outside of its virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def build(python: str) -> bytes:
    """The file's bytes, to be run by an interpreter with this absolute path. Raises ValueError."""
    first = f"#!{python} -IScimport sys;f=open(sys.argv[1],'rb');f.readline();exec(f.readline())\n"
    if not python.startswith("/") or " " in python or len(first) > _LIMIT:
        longest = _LIMIT - len(first) + len(python)
        raise ValueError(
            f"{python!r} must be an absolute path without spaces, of at most {longest} characters"
        )
    here = Path(__file__).parent
    packages = _PACKAGE.split(".")
    sources = {".".join(packages[: end + 1]): "" for end in range(len(packages))}
    sources |= {f"{_PACKAGE}.{name}": (here / f"{name}.py").read_text(encoding="utf-8") for name in _MODULES}
    modules = [
        (name, compile(text, f"{name}.py", "exec", dont_inherit=True, optimize=2))
        for name, text in sources.items()
    ]
    compiled = marshal.dumps((compile(_LOADER, NAME, "exec", dont_inherit=True), modules))
    second = (
        "import marshal,_frozen_importlib_external as i;"
        f"code,modules=marshal.loads(f.read({len(compiled)})) if i.MAGIC_NUMBER=={MAGIC_NUMBER!r} "
        "else ('sys.path[:0]=[f.name];import plugin_main',());exec(code)\n"
    )
    from_source = f"modules = [(n, compile(s, n + '.py', 'exec')) for n, s in {[*sources.items()]!r}]\n"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as target:
        target.writestr(zipfile.ZipInfo("plugin_main.py"), from_source + _LOADER)
        target.writestr(zipfile.ZipInfo("__main__.py"), "import plugin_main\n")
    return first.encode() + second.encode() + compiled + archive.getvalue()


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
